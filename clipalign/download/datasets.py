"""Pictures of a data set, fetched one by one from the addresses that one of its files lists.

Data sets, brought into their folder: fetched or handed over, verified, unpacked, and remembered.

An archive is deleted once it is unpacked; what the user handed over with ``--from`` is left where it is.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from clipalign.cache import data_folder
from clipalign.download import hub
from clipalign.download.archives import Member, unpack
from clipalign.download.dataset_rows import DataFile, DatasetRow
from clipalign.download.fetch import (
    DownloadContext,
    DownloadResult,
    Hashes,
    RemoteFile,
    disk_error,
    drop_part,
    fetch,
    in_bytes,
    part_of,
    tidy,
)
from clipalign.download.manifest import (
    NOTES_FOLDER,
    Manifest,
    is_complete,
    is_there,
    members_of,
    read_manifest,
    write_manifest,
)
from clipalign.download.web import RefusedError, host_of
from clipalign.errors import ClipalignError, DownloadFailed, MissingDataset, UsageError, VerificationFailed
from clipalign.files import exclusive

EXAMPLES: Final = 3
TOLD_EVERY: Final = 250
SILENT: Final = 3
"""Pictures in a row that a server does not answer for; it will not answer for the next thousand either."""

TOGETHER: Final = 4
"""Pictures asked for at a time: enough to hide the way there and back, and no burden for a server."""


def fetch_pictures(row: DatasetRow, folder: Path, context: DownloadContext) -> list[DownloadResult]:
    """Pictures, a few at a time; those that cannot be had are counted, and some of them named, at the end.

    Raises:
        DownloadFailed: some cannot be had, or the server answers no more.
        VerificationFailed: the list is not laid out as it should be, or lacks some.
    """
    assert row.pictures is not None
    wanted = _addresses(row, folder)
    into = folder / row.pictures.into
    missing = {name: url for name, url in wanted.items() if not (into / name).is_file()}
    for name in wanted.keys() - missing.keys():
        tidy(into / name)
    if missing:
        context.announce(f"fetching {row.name}: {len(missing):,} pictures of {row.page}, one by one")
    failed: dict[str, ClipalignError] = {}
    silent = size = 0
    with closing(_coming(missing, into, context)) as under_way:
        for number, (name, coming) in enumerate(under_way):
            if number and number % TOLD_EVERY == 0:
                context.announce(f"{row.name}: {number:,} of {len(missing):,} pictures")
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
    return [DownloadResult(into, f"{len(wanted):,} addresses", "", size, fresh=bool(missing))]


def _coming(
    missing: Mapping[str, str], into: Path, context: DownloadContext
) -> Generator[tuple[str, Future[DownloadResult]], None, None]:
    """Name after name with what is fetched for it, :data:`TOGETHER` at a time, each thread with its own connection."""
    own = threading.local()

    def fetched(name: str, url: str) -> DownloadResult:
        if not hasattr(own, "web"):
            own.web = replace(context.web, _session=None)
        return fetch(RemoteFile(url, name=name), into / name, web=own.web)

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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise VerificationFailed(
            f"{row.pictures.listed_in} of {row.name} is not laid out as it should be", input=row.name
        ) from error
    if any(PurePosixPath(name).name != name or "\\" in name for name in found):
        raise VerificationFailed(f"{row.pictures.listed_in} of {row.name} names files outside its folder")
    if len(found) < len(names):
        raise VerificationFailed(f"{row.pictures.listed_in} of {row.name} lacks {len(names) - len(found):,} pictures")
    return found


T = TypeVar("T")

BY_HAND: Final = "by hand"
"""How the source of what the user handed over begins."""


def by_hand(row: DatasetRow, folder: Path) -> list[str]:
    """The instructions for what cannot be fetched and is not there yet, a sentence a line."""
    missing = [
        file
        for file in row.files
        if file.by_hand and read_manifest(folder, file) is None and not is_there(folder, file)
    ]
    lines = [file.by_hand for file in missing]
    if missing:
        files = " ".join(f"--from {file.path}" for file in missing)
        what = "it" if len(missing) == 1 else "them"
        lines.append(f"then: clipalign download {row.name} {files} (or put {what} in {folder} and leave out --from)")
    return lines


def fetch_dataset(
    row: DatasetRow, context: DownloadContext, *, handed_over: Sequence[Path] = ()
) -> list[DownloadResult]:
    """Bring every file of ``row`` into its folder; what is there already is left alone.

    Args:
        row: of the table.
        context: the way things are fetched.
        handed_over: files that the user has, used instead of fetching: by their names, or as the only file there is.

    Raises:
        MissingDataset: something of it must be fetched by hand, and was not handed over; the hint says how.
        UsageError: a file handed over is none of this data set's, or a folder in place of one.
        DownloadFailed, VerificationFailed, OutputError.
    """
    folder = data_folder(row.name, cache_dir=context.cache_dir)
    given = _matched(row, handed_over, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NOTES_FOLDER).mkdir(exist_ok=True)
        waiting = f"another process is at work on {row.name}; waiting for it"
        with exclusive(
            folder / NOTES_FOLDER / "lock", wait_seconds=float("inf"), on_wait=lambda: context.web.tell(waiting)
        ):
            brought = [one for file in row.files for one in _bring(row, file, folder, context, given.get(file.path))]
            if row.pictures is not None and not by_hand(row, folder):
                brought += fetch_pictures(row, folder, context)
    except OSError as error:
        raise disk_error(error, row.name, folder) from error
    if lines := by_hand(row, folder):
        raise MissingDataset(
            f"{row.name} has to be fetched by hand, at least in part (license: {row.license}), see {row.page}",
            hint="; ".join(lines),
            input=row.name,
        )
    return brought


def _matched(row: DatasetRow, handed_over: Sequence[Path], folder: Path) -> dict[str, Path]:
    """The row's files to the user's."""
    found: dict[str, Path] = {}
    single = {file.path: file for file in row.files if not file.pattern}
    names = {PurePosixPath(path).name: path for path in single}
    for path in handed_over:
        if not path.exists():
            raise UsageError(f"there is no file {path}", input="--from")
        place = names.get(path.name) or (next(iter(single)) if len(single) == len(handed_over) == 1 else None)
        if place is None:
            places = " and ".join(str(folder / file.path) for file in row.files)
            hint = f"they are {', '.join(names)}" if names else f"put what you have into {places}, and leave out --from"
            raise UsageError(f"{path.name} is none of the files of {row.name}", hint=hint, input="--from")
        if path.is_dir() and PurePosixPath(place).suffix:
            raise _is_a_folder(path, single[place], folder)
        found[place] = path
    return found


def _is_a_folder(path: Path, file: DataFile, folder: Path) -> UsageError:
    """What is said of a folder in place of ``file``; what an archive gave need not be copied, only found."""
    places = " and ".join(str(folder / place) for place in file.gives)
    hint = f"what was unpacked by hand is looked for at {places}" if file.gives else "name the file itself"
    return UsageError(f"{path} is a folder, not {PurePosixPath(file.path).name}", hint=hint, input="--from")


def _bring(
    row: DatasetRow, file: DataFile, folder: Path, context: DownloadContext, given: Path | None
) -> Iterator[DownloadResult]:
    known = read_manifest(folder, file)
    if given is None and known is not None and is_complete(folder, known):
        if file.gives and not file.by_hand and not known.source.startswith(BY_HAND):
            (folder / file.path).unlink(missing_ok=True)  # of a run that was killed when all was out
        yield DownloadResult(
            folder / file.path, known.source, known.sha256, known.size_bytes, 0, known.verified, fresh=False
        )
    elif given is not None or (file.by_hand and (folder / file.path).exists()):
        yield _handed_over(row, file, folder, given or folder / file.path)
    elif known is None and _was_unpacked_by_hand(folder, file):
        yield DownloadResult(folder / file.gives[0], "there already", "", 0, fresh=False)
    elif file.pattern:
        yield from _folder_of_hub(row, file, folder, context)
    elif not file.by_hand:
        yield _fetched(row, file, folder, context)


def _was_unpacked_by_hand(folder: Path, file: DataFile) -> bool:
    """Whether all that an archive gives is there without it; beside it, it is what a killed run left half done."""
    archive = folder / file.path
    return bool(file.gives) and is_there(folder, file) and not archive.exists() and not part_of(archive).exists()


def _handed_over(row: DatasetRow, file: DataFile, folder: Path, given: Path) -> DownloadResult:
    """A file of the user's, verified, then unpacked or copied."""
    target = folder / file.path
    if given.is_dir():
        if given.resolve() != target.resolve():
            shutil.copytree(given, target, dirs_exist_ok=True)
        members = tuple(members_of(target, folder))
        write_manifest(
            folder, Manifest(file.path, f"{BY_HAND}: {given}", "", sum(m.size_bytes for m in members), False, members)
        )
        return DownloadResult(target, BY_HAND, "", sum(m.size_bytes for m in members))
    wanted = RemoteFile(file.url or f"file:{given}", sha256=file.sha256, md5=file.md5, size_bytes=file.size_bytes)
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
    source = f"{BY_HAND}: {given}"
    brought = DownloadResult(target, source, hashes.sha256, hashes.size_bytes, 0, wanted.checked)
    _finish(file, folder, given if file.gives else target, brought, delete=False)
    return brought


def _fetched(row: DatasetRow, file: DataFile, folder: Path, context: DownloadContext) -> DownloadResult:
    if file.repo:
        described = _in_first_kind(
            file, lambda dataset: hub.look_up(context.web, file.repo, file.source, dataset=dataset)
        )
        place = f"{host_of(hub.endpoint())}/{file.repo}"
        wanted, dataset = described.wanted(sha256=file.sha256), described.dataset
    else:
        wanted = RemoteFile(
            file.url, sha256=file.sha256, md5=file.md5, size_bytes=file.size_bytes, name=PurePosixPath(file.path).name
        )
        place, dataset = host_of(file.url), False
    return _one(row, file, wanted, place, folder, folder / file.path, context, dataset=dataset)


def _one(
    row: DatasetRow,
    file: DataFile,
    wanted: RemoteFile,
    place: str,
    folder: Path,
    target: Path,
    context: DownloadContext,
    *,
    dataset: bool,
) -> DownloadResult:
    size = wanted.size_bytes or file.about_bytes
    large = f"{'' if wanted.size_bytes else 'about '}{in_bytes(size)}" if size else "of unknown size"
    context.announce(f"fetching {row.name}: {wanted.title}, {large}, from {place}")
    refusals = hub.explained(file.repo or row.name, wanted.title, dataset=dataset)
    with context.progress(f"{row.name} {wanted.title}") as advance, refusals:
        brought = fetch(wanted, target, web=context.web, progress=advance)
    if not file.pattern:
        _finish(file, folder, target, brought, delete=True)
    return brought


def _in_first_kind(file: DataFile, ask: Callable[[bool], T]) -> T:
    """What ``ask`` finds, told whether to look among data sets, in the first kind of repository that has it."""
    for kind in file.kinds[:-1]:
        try:
            return ask(kind == "dataset")
        except RefusedError:
            continue
    return ask(file.kinds[-1] == "dataset")


def _folder_of_hub(row: DatasetRow, file: DataFile, folder: Path, context: DownloadContext) -> Iterator[DownloadResult]:
    """Every file of a repository that fits the pattern."""
    listed = _in_first_kind(file, lambda dataset: hub.list_folder(context.web, file.repo, file.source, dataset=dataset))
    found = [one for one in listed if fnmatchcase(one.path, file.pattern)]
    if not found:
        raise DownloadFailed(f"the Hub's {file.repo} has no files like {file.pattern}", hint=f"see {row.page}")
    place = f"{host_of(hub.endpoint())}/{file.repo}"
    members, brought = [], []
    for one in found:
        inner = PurePosixPath(one.path).relative_to(file.source) if file.source else PurePosixPath(one.path)
        target = folder / file.path / Path(*inner.parts)
        fetched = _one(row, file, one.wanted(), place, folder, target, context, dataset=one.dataset)
        members.append(Member(target.relative_to(folder).as_posix(), fetched.size_bytes, fetched.sha256))
        brought.append(fetched)
        yield fetched
    total, verified = sum(one.size_bytes for one in brought), all(one.verified for one in brought)
    write_manifest(folder, Manifest(file.path, place, "", total, verified, tuple(members)))


def _finish(file: DataFile, folder: Path, path: Path, brought: DownloadResult, *, delete: bool) -> None:
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
    write_manifest(
        folder,
        Manifest(file.path, brought.source, brought.sha256, brought.size_bytes, brought.verified, members),
    )
    if file.gives and delete:
        path.unlink(missing_ok=True)


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
