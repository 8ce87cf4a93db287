"""Data sets, brought into their folder: fetched or handed over, verified, unpacked, and remembered.

What was done stands in ``.clipalign/`` of the data set's folder: for every file of its row the hash it had, where it
came from, and the size and hash of each file that an archive gave. An archive is deleted once it is unpacked; what the
user handed over with ``--from`` is left where it is.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from clipalign.benchmarks.data import data_folder
from clipalign.downloads import hub
from clipalign.downloads.archives import Member, unpack
from clipalign.downloads.errand import Brought, Errand, in_bytes
from clipalign.downloads.fetch import Fetched, Hashes, Wanted, disk_error, drop_part, fetch
from clipalign.downloads.web import RefusedError
from clipalign.errors import ClipalignError, DownloadFailed, MissingDataset, UsageError, VerificationFailed
from clipalign.locks import exclusive
from clipalign.registry.datasets import DataFile, DatasetRow

NOTES_FOLDER: Final = ".clipalign"
PIECE_BYTES: Final = 1 << 20
EXAMPLES: Final = 3
TOLD_EVERY: Final = 250
SILENT: Final = 3
"""Pictures in a row that a server does not answer for; it will not answer for the next thousand either."""

TOGETHER: Final = 4
"""Pictures asked for at a time: enough to hide the way there and back, and no burden for a server."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of a file of a data set.

    Attributes:
        path: of the row's file.
        source: where it came from.
        sha256: it had, before it was unpacked.
        size_bytes: it had.
        verified: whether a hash was on record, and it agreed.
        members: what is there because of it: path in the data set's folder, size, SHA-256.
    """

    path: str
    source: str
    sha256: str
    size_bytes: int
    verified: bool
    members: tuple[Member, ...]


def dataset_folder(name: str, cache_dir: Path | None = None) -> Path:
    """Where ``download`` puts data set ``name``; may not exist yet."""
    return data_folder(name, cache_dir=cache_dir)


def by_hand(row: DatasetRow, folder: Path) -> list[str]:
    """The instructions for what cannot be fetched and is not there yet, a sentence a line."""
    missing = [file for file in row.files if file.by_hand and kept(folder, file) is None and not is_there(folder, file)]
    lines = [file.by_hand for file in missing]
    if missing:
        files = " ".join(f"--from {file.path}" for file in missing)
        what = "it" if len(missing) == 1 else "them"
        lines.append(f"then: clipalign download {row.name} {files} (or put {what} in {folder} and leave out --from)")
    return lines


def fetch_dataset(row: DatasetRow, errand: Errand, *, handed_over: Sequence[Path] = ()) -> list[Brought]:
    """Bring every file of ``row`` into its folder; what is there already is left alone.

    Args:
        row: of the table.
        errand: the way things are fetched.
        handed_over: files that the user has, used instead of fetching: by their names, or as the only file there is.

    Raises:
        MissingDataset: something of it must be fetched by hand, and was not handed over; the hint says how.
        UsageError: a file handed over is none of this data set's.
        DownloadFailed, VerificationFailed, OutputError.
    """
    folder = dataset_folder(row.name, errand.cache_dir)
    given = _matched(row, handed_over)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NOTES_FOLDER).mkdir(exist_ok=True)
        waiting = f"another process is at work on {row.name}; waiting for it"
        with exclusive(
            folder / NOTES_FOLDER / "lock", wait_seconds=float("inf"), on_wait=lambda: errand.web.tell(waiting)
        ):
            brought = [one for file in row.files for one in _bring(row, file, folder, errand, given.get(file.path))]
            if row.pictures is not None and not by_hand(row, folder):
                brought += _pictures(row, folder, errand)
    except OSError as error:
        raise disk_error(error, row.name, folder) from error
    if lines := by_hand(row, folder):
        raise MissingDataset(
            f"{row.name} has to be fetched by hand, at least in part: {row.licence}, see {row.page}",
            hint="; ".join(lines),
            input=row.name,
        )
    return brought


def _matched(row: DatasetRow, handed_over: Sequence[Path]) -> dict[str, Path]:
    """The row's files to the user's."""
    found: dict[str, Path] = {}
    single = [file for file in row.files if not file.pattern]
    for path in handed_over:
        if not path.exists():
            raise UsageError(f"there is no file {path}", input="--from")
        names = {PurePosixPath(file.path).name: file.path for file in single}
        place = names.get(path.name) or (single[0].path if len(single) == len(handed_over) == 1 else None)
        if place is None:
            raise UsageError(
                f"{path.name} is none of the files of {row.name}", hint=f"they are {', '.join(names)}", input="--from"
            )
        found[place] = path
    return found


def _bring(row: DatasetRow, file: DataFile, folder: Path, errand: Errand, given: Path | None) -> Iterator[Brought]:
    known = kept(folder, file)
    if given is None and known is not None and _complete(folder, known):
        yield Brought(folder / file.path, known.source, known.sha256, known.size_bytes, 0, known.verified, fresh=False)
    elif given is not None or (file.by_hand and (folder / file.path).exists()):
        yield _handed_over(row, file, folder, given or folder / file.path)
    elif file.pattern:
        yield from _folder_of_hub(row, file, folder, errand)
    elif not file.by_hand:
        yield _fetched(row, file, folder, errand)


def _handed_over(row: DatasetRow, file: DataFile, folder: Path, given: Path) -> Brought:
    """A file of the user's, verified, then unpacked or copied."""
    target = folder / file.path
    if given.is_dir():
        if given.resolve() != target.resolve():
            shutil.copytree(given, target, dirs_exist_ok=True)
        members = tuple(_members_of(target, folder))
        _keep(folder, Kept(file.path, f"by hand: {given}", "", sum(m.size_bytes for m in members), False, members))
        return Brought(target, "by hand", "", sum(m.size_bytes for m in members))
    wanted = Wanted(file.url or f"file:{given}", sha256=file.sha256, md5=file.md5, size_bytes=file.size_bytes)
    hashes = Hashes(wanted)
    hashes.read(given, given.stat().st_size)
    if problem := hashes.problem(given):
        raise VerificationFailed(
            f"{given} is not the {file.path} of {row.name}: {problem}",
            hint=f"fetch it again from {row.page}",
            input=str(given),
        )
    if not file.gives and given.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f"{target.name}.copy")
        shutil.copyfile(given, fresh)
        fresh.replace(target)
    source = f"by hand: {given}"
    brought = Brought(target, source, hashes.sha256, hashes.size_bytes, 0, wanted.checked)
    _finish(file, folder, given if file.gives else target, brought, delete=False)
    return brought


def _fetched(row: DatasetRow, file: DataFile, folder: Path, errand: Errand) -> Brought:
    if file.repo:
        described, place = _in_hub(file, errand), f"{urlsplit(hub.endpoint()).netloc}/{file.repo}"
        wanted = described.wanted(sha256=file.sha256)
    else:
        wanted = Wanted(
            file.url, sha256=file.sha256, md5=file.md5, size_bytes=file.size_bytes, name=PurePosixPath(file.path).name
        )
        place = urlsplit(file.url).netloc
    return _one(row, file, wanted, place, folder, folder / file.path, errand)


def _one(
    row: DatasetRow, file: DataFile, wanted: Wanted, place: str, folder: Path, target: Path, errand: Errand
) -> Brought:
    size = wanted.size_bytes or file.about_bytes
    large = f"{'' if wanted.size_bytes else 'about '}{in_bytes(size)}" if size else "of unknown size"
    errand.announce(f"fetching {row.name}: {wanted.title}, {large}, from {place}")
    with errand.progress(f"{row.name} {wanted.title}") as advance, hub.explained(file.repo or row.name, wanted.title):
        found = fetch(wanted, target, web=errand.web, progress=advance)
    brought = Brought(found.path, wanted.url, found.sha256, found.size_bytes, found.resumed_bytes, found.verified)
    if not file.pattern:
        _finish(file, folder, target, brought, delete=True)
    return brought


def _in_hub(file: DataFile, errand: Errand) -> hub.HubFile:
    """The file, in the first kind of repository that has it."""
    for kind in file.kinds[:-1]:
        try:
            return hub.look_up(errand.web, file.repo, file.source, dataset=kind == "dataset")
        except RefusedError:
            continue
    return hub.look_up(errand.web, file.repo, file.source, dataset=file.kinds[-1] == "dataset")


def _folder_of_hub(row: DatasetRow, file: DataFile, folder: Path, errand: Errand) -> Iterator[Brought]:
    """Every file of a repository that fits the pattern."""
    found = [one for one in _listed(file, errand) if fnmatchcase(one.path, file.pattern)]
    if not found:
        raise DownloadFailed(f"the Hub's {file.repo} has no files like {file.pattern}", hint=f"see {row.page}")
    place = f"{urlsplit(hub.endpoint()).netloc}/{file.repo}"
    members, brought = [], []
    for one in found:
        inner = PurePosixPath(one.path).relative_to(file.source) if file.source else PurePosixPath(one.path)
        target = folder / file.path / Path(*inner.parts)
        fetched = _one(row, file, one.wanted(), place, folder, target, errand)
        members.append(Member(target.relative_to(folder).as_posix(), fetched.size_bytes, fetched.sha256))
        brought.append(fetched)
        yield fetched
    total, verified = sum(one.size_bytes for one in brought), all(one.verified for one in brought)
    _keep(folder, Kept(file.path, place, "", total, verified, tuple(members)))


def _listed(file: DataFile, errand: Errand) -> list[hub.HubFile]:
    for kind in file.kinds[:-1]:
        try:
            return hub.list_folder(errand.web, file.repo, file.source, dataset=kind == "dataset")
        except RefusedError:
            continue
    return hub.list_folder(errand.web, file.repo, file.source, dataset=file.kinds[-1] == "dataset")


def _finish(file: DataFile, folder: Path, path: Path, brought: Brought, *, delete: bool) -> None:
    """Unpack what is an archive, and remember."""
    if file.gives:
        into = folder / file.into if file.into else folder
        members = tuple(
            Member(f"{file.into}/{one.path}" if file.into else one.path, one.size_bytes, one.sha256)
            for one in unpack(path, into)
        )
        missing = [place for place in file.gives if not (folder / place).exists()]
        if missing:
            raise VerificationFailed(
                f"{path.name} was unpacked into {into}, but {', '.join(missing)} was not in it", input=str(path)
            )
    else:
        members = (Member(file.path, brought.size_bytes, brought.sha256),)
    _keep(
        folder,
        Kept(file.path, brought.source, brought.sha256, brought.size_bytes, brought.verified, members),
    )
    if file.gives and delete:
        path.unlink(missing_ok=True)


def _pictures(row: DatasetRow, folder: Path, errand: Errand) -> list[Brought]:
    """Pictures, a few at a time; those that cannot be had are counted and named together at the end."""
    assert row.pictures is not None
    wanted = _addresses(row, folder)
    missing = {name: url for name, url in wanted.items() if not (folder / row.pictures.into / name).is_file()}
    if missing:
        errand.announce(f"fetching {row.name}: {len(missing):,} pictures of {row.page}, one by one")
    failed: dict[str, ClipalignError] = {}
    silent = size = 0
    with closing(_coming(missing, folder / row.pictures.into, errand)) as under_way:
        for number, (name, coming) in enumerate(under_way):
            if number and number % TOLD_EVERY == 0:
                errand.announce(f"{row.name}: {number:,} of {len(missing):,} pictures")
            try:
                size += coming.result().size_bytes
                silent = 0
            except RefusedError as error:
                failed[name] = error
            except DownloadFailed as error:
                failed[name] = error
                silent += 1
                if silent >= SILENT:
                    raise
    if failed:
        examples = ", ".join(list(failed)[:EXAMPLES])
        raise DownloadFailed(
            f"{len(failed):,} of {len(wanted):,} pictures of {row.name} could not be had, such as {examples}: "
            f"{next(iter(failed.values())).message}",
            hint="run it again later; the others are there",
            input=row.name,
        )
    place = folder / row.pictures.into
    return [Brought(place, f"{len(wanted):,} addresses", "", size, fresh=bool(missing))]


def _coming(
    missing: Mapping[str, str], into: Path, errand: Errand
) -> Generator[tuple[str, Future[Fetched]], None, None]:
    """Name after name with what is fetched for it, :data:`TOGETHER` at a time, each thread with its own connection."""
    own = threading.local()

    def fetched(name: str, url: str) -> Fetched:
        if not hasattr(own, "web"):
            own.web = replace(errand.web, _session=None)
        return fetch(Wanted(url, name=name), into / name, web=own.web)

    pool = ThreadPoolExecutor(TOGETHER, thread_name_prefix="pictures")
    try:
        yield from [(name, pool.submit(fetched, name, url)) for name, url in missing.items()]
    finally:
        pool.shutdown(cancel_futures=True)  # what was begun is finished, so that no file is left half


def _addresses(row: DatasetRow, folder: Path) -> dict[str, str]:
    """File name to address of every picture that is needed."""
    assert row.pictures is not None
    try:
        listed = json.loads((folder / row.pictures.listed_in).read_text(encoding="utf-8"))["images"]
        needed = json.loads((folder / row.pictures.needed_by).read_text(encoding="utf-8"))
        addresses = {str(image["file_name"]): str(image["coco_url"]) for image in listed}
        names = sorted({str(one["image_path"]) for one in needed})
        found = {name: addresses[name] for name in names if name in addresses}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VerificationFailed(
            f"{row.pictures.listed_in} of {row.name} is not laid out as it should be", input=row.name
        ) from error
    if any(PurePosixPath(name).name != name or "\\" in name for name in found):
        raise VerificationFailed(f"{row.pictures.listed_in} of {row.name} names files outside its folder")
    if len(found) < len(names):
        raise VerificationFailed(f"{row.pictures.listed_in} of {row.name} lacks {len(names) - len(found):,} pictures")
    return found


def _note(folder: Path, file: DataFile) -> Path:
    plain = file.path.replace("/", "--") if file.path != "." else "all"
    return folder / NOTES_FOLDER / f"{plain}.json"


def _keep(folder: Path, what: Kept) -> None:
    note = _note(folder, DataFile(what.path))
    note.parent.mkdir(parents=True, exist_ok=True)
    fresh = note.with_suffix(".new")
    document = asdict(what) | {"members": [[one.path, one.size_bytes, one.sha256] for one in what.members]}
    fresh.write_text(json.dumps(document), encoding="utf-8")
    fresh.replace(note)


def kept(folder: Path, file: DataFile) -> Kept | None:
    """What is remembered of ``file``; None where it never came."""
    try:
        document: dict[str, Any] = json.loads(_note(folder, file).read_text(encoding="utf-8"))
        members = tuple(Member(str(path), int(size), str(sha256)) for path, size, sha256 in document["members"])
        return Kept(
            str(document["path"]),
            str(document["source"]),
            str(document["sha256"]),
            int(document["size_bytes"]),
            bool(document["verified"]),
            members,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _complete(folder: Path, what: Kept) -> bool:
    """Whether everything is there, in its size."""
    return all(_has_size(folder / one.path, one.size_bytes) for one in what.members)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def is_there(folder: Path, file: DataFile) -> bool:
    """Whether what ``file`` gives lies in ``folder``, wherever it came from; contents are not looked at."""
    places = file.gives or (file.path,)
    if file.pattern:
        inner = folder / file.path
        return inner.is_dir() and any(one.name != NOTES_FOLDER for one in inner.iterdir())
    return all((folder / place).exists() for place in places)


def damaged(row: DatasetRow, folder: Path) -> list[str]:
    """Read everything that is remembered, and name what is missing or not what it was, a sentence each."""
    found = []
    for file in row.files:
        what = kept(folder, file)
        for one in what.members if what else ():
            path = folder / one.path
            if not path.is_file():
                found.append(f"{path} is missing")
            elif _sha256(path) != one.sha256:
                found.append(f"{path} is not what it was")
    return found


def _sha256(path: Path) -> str:
    hashes = Hashes(Wanted(""))
    hashes.read(path, path.stat().st_size)
    return hashes.sha256


def _members_of(target: Path, folder: Path) -> Iterator[Member]:
    for path in sorted(target.rglob("*")):
        if path.is_file():
            yield Member(path.relative_to(folder).as_posix(), path.stat().st_size, _sha256(path))


def remove_dataset(row: DatasetRow, folder: Path) -> int:
    """Delete the data set's folder, with everything in it; the bytes that were.

    Raises:
        OutputError: it cannot be deleted.
    """
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    for file in row.files:
        drop_part(folder / file.path)
    try:
        if folder.is_symlink():
            folder.unlink()
        elif folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        raise disk_error(error, row.name, folder) from error
    return size
