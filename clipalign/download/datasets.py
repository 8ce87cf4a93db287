"""Fetch data sets into their folder: fetched or given by the user, verified, unpacked and recorded.

An archive is deleted once unpacked; a file given with ``--from`` stays where it is. Pictures that a file lists by
address are fetched one by one.
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
from clipalign.download.dataset_rows import DataFile, DatasetRow, Pictures
from clipalign.download.fetch import (
    DownloadContext,
    DownloadResult,
    Hashes,
    RemoteFile,
    announcement,
    disk_error,
    drop_part,
    fetch,
    partial_path,
    tidy,
)
from clipalign.download.manifest import (
    MANIFEST_FOLDER,
    Manifest,
    is_complete,
    is_there,
    members_of,
    read_manifest,
    write_manifest,
)
from clipalign.download.web import RefusedError, host_of
from clipalign.errors import ClipalignError, DownloadFailed, MissingDataset, UsageError, VerificationFailed
from clipalign.files import exclusive, remove_leftovers, replacing

T = TypeVar("T")

BY_HAND: Final = "by hand"

EXAMPLES: Final = 3
TELL_EVERY: Final = 250
MAX_SILENT: Final = 3
"""Consecutive pictures without an answer after which the server is given up."""

CONNECTIONS: Final = 4
"""Pictures fetched at a time: enough to hide the latency without burdening the server."""


def by_hand(row: DatasetRow, folder: Path) -> list[str]:
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
    """Fetch every file of ``row`` that is not in its folder yet.

    ``handed_over`` are files of the user's, used instead of fetching: matched by name, or as the only file there is.

    Raises:
        MissingDataset: a file must be fetched by hand and was not given.
        UsageError: a given file is not part of this data set, or is a folder.
        DownloadFailed, VerificationFailed, OutputError.
    """
    folder = data_folder(row.name, cache_dir=context.cache_dir)
    given = _matched(row, handed_over, folder)
    dataset = _Dataset(row, folder, context)
    if not given and row.by_hand_alone and not folder.exists():
        _refuse_by_hand(row, folder)  # before a folder is made
    try:
        (folder / MANIFEST_FOLDER).mkdir(parents=True, exist_ok=True)
        waiting = f"another process is at work on {row.name}; waiting for it"
        with exclusive(
            folder / MANIFEST_FOLDER / "lock", wait_seconds=float("inf"), on_wait=lambda: context.web.tell(waiting)
        ):
            remove_leftovers(folder / MANIFEST_FOLDER)
            results = [one for file in row.files for one in dataset.provide(file, given.get(file.path))]
            if row.pictures is not None and not by_hand(row, folder):
                results.append(dataset.fetch_pictures(row.pictures))
    except OSError as error:
        raise disk_error(error, row.name, folder) from error
    _refuse_by_hand(row, folder)
    return results


def _refuse_by_hand(row: DatasetRow, folder: Path) -> None:
    if lines := by_hand(row, folder):
        raise MissingDataset(
            f"{row.name} has to be fetched by hand, at least in part (license: {row.license}), see {row.page}",
            hint="; ".join(lines),
            input=row.name,
        )


def _matched(row: DatasetRow, handed_over: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Map the path of each file of the row to the user's file for it."""
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
            given_by_archive = " and ".join(str(folder / inner) for inner in single[place].gives)
            hint = f"what was unpacked by hand is looked for at {given_by_archive}"
            raise UsageError(
                f"{path} is a folder, not {PurePosixPath(place).name}",
                hint=hint if given_by_archive else "name the file itself",
                input="--from",
            )
        found[place] = path
    return found


class _Dataset:
    def __init__(self, row: DatasetRow, folder: Path, context: DownloadContext) -> None:
        self.row, self.folder, self.context = row, folder, context

    def provide(self, file: DataFile, given: Path | None) -> Iterator[DownloadResult]:
        known, target = read_manifest(self.folder, file), self.folder / file.path
        if given is None and known is not None and is_complete(self.folder, known):
            if file.gives and not file.by_hand and not known.source.startswith(BY_HAND):
                target.unlink(missing_ok=True)  # of a run that was killed when all was unpacked
            yield DownloadResult(
                target, known.source, known.sha256, known.size_bytes, verified=known.verified, fresh=False
            )
        elif given is not None or (file.by_hand and target.exists()):
            yield self._take(file, given or target)
        elif known is None and self._was_unpacked_by_hand(file):
            yield DownloadResult(self.folder / file.gives[0], "there already", "", 0, fresh=False)
        elif file.pattern:
            yield from self._fetch_folder(file)
        elif not file.by_hand:
            result = self._fetch_one(file)
            self._finish(file, target, result)
            if file.gives:
                target.unlink(missing_ok=True)
            yield result

    def _was_unpacked_by_hand(self, file: DataFile) -> bool:
        """Return whether all files of an archive exist without the archive, which a killed run leaves beside them."""
        archive = self.folder / file.path
        there = bool(file.gives) and is_there(self.folder, file)
        return there and not archive.exists() and not partial_path(archive).exists()

    def _take(self, file: DataFile, given: Path) -> DownloadResult:
        target = self.folder / file.path
        is_elsewhere = given.resolve() != target.resolve()
        source = f"{BY_HAND}: {given}"
        if given.is_dir():
            if is_elsewhere:
                shutil.copytree(given, target, dirs_exist_ok=True)
            members = tuple(members_of(target, self.folder))
            size = sum(one.size_bytes for one in members)
            write_manifest(self.folder, Manifest(file.path, source, "", size, False, members))
            return DownloadResult(target, BY_HAND, "", size)
        hashes = Hashes(RemoteFile("", sha256=file.sha256, md5=file.md5, size_bytes=file.size_bytes))
        hashes.read(given, given.stat().st_size)
        if mismatch := hashes.mismatch(given):
            raise VerificationFailed(
                f"{given} is not the {file.path} of {self.row.name}: {mismatch}",
                hint=f"fetch it again from {self.row.page}",
                input=str(given),
            )
        if not file.gives and is_elsewhere:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as part:
                shutil.copyfile(given, part)
        result = hashes.result(target, source)
        self._finish(file, given if file.gives else target, result)
        return result

    def _fetch_one(self, file: DataFile) -> DownloadResult:
        if file.repo:
            web = self.context.web
            found = _in_first_kind(file, lambda dataset: hub.look_up(web, file.repo, file.source, dataset=dataset))
            return self._fetch_hub_file(file, found, self.folder / file.path)
        remote = RemoteFile(
            file.url, sha256=file.sha256, md5=file.md5, size_bytes=file.size_bytes, name=PurePosixPath(file.path).name
        )
        return self._fetch(remote, host_of(file.url), self.folder / file.path, about_bytes=file.about_bytes)

    def _fetch_hub_file(self, file: DataFile, found: hub.HubFile, target: Path) -> DownloadResult:
        remote, place = found.remote(sha256=file.sha256), f"{host_of(hub.endpoint())}/{file.repo}"
        with hub.explained(file.repo, found.path, dataset=found.dataset):
            return self._fetch(remote, place, target, about_bytes=file.about_bytes)

    def _fetch(self, remote: RemoteFile, place: str, target: Path, *, about_bytes: int) -> DownloadResult:
        name, size = self.row.name, remote.size_bytes or about_bytes
        self.context.web.tell(announcement(name, remote.title, size, place, approximate=not remote.size_bytes))
        with self.context.progress(f"{name} {remote.title}") as advance:
            return fetch(remote, target, web=self.context.web, progress=advance)

    def _fetch_folder(self, file: DataFile) -> Iterator[DownloadResult]:
        web = self.context.web
        listed = _in_first_kind(file, lambda dataset: hub.list_folder(web, file.repo, file.source, dataset=dataset))
        matching = [one for one in listed if fnmatchcase(one.path, file.pattern)]
        if not matching:
            raise DownloadFailed(
                f"the Hub's {file.repo} has no files that match {file.pattern}", hint=f"see {self.row.page}"
            )
        results = []
        for found in matching:
            inner = PurePosixPath(found.path).relative_to(file.source)
            results.append(self._fetch_hub_file(file, found, self.folder / file.path / Path(*inner.parts)))
            yield results[-1]
        source = f"{host_of(hub.endpoint())}/{file.repo}"
        size, verified = sum(one.size_bytes for one in results), all(one.verified for one in results)
        members = tuple(
            Member(one.path.relative_to(self.folder).as_posix(), one.size_bytes, one.sha256) for one in results
        )
        write_manifest(self.folder, Manifest(file.path, source, "", size, verified, members))

    def _finish(self, file: DataFile, path: Path, result: DownloadResult) -> None:
        """Unpack ``path`` if it is an archive, and record the files."""
        members: tuple[Member, ...] = (Member(file.path, result.size_bytes, result.sha256),)
        if file.gives:
            into = self.folder / file.into
            members = tuple(replace(one, path=str(PurePosixPath(file.into, one.path))) for one in unpack(path, into))
            missing = [place for place in file.gives if not (self.folder / place).exists()]
            if missing:
                raise VerificationFailed(
                    f"{path.name} was unpacked into {into}, but {', '.join(missing)} was not in it", input=str(path)
                )
        write_manifest(
            self.folder,
            Manifest(file.path, result.source, result.sha256, result.size_bytes, result.verified, members),
        )

    def fetch_pictures(self, pictures: Pictures) -> DownloadResult:
        name, tell = self.row.name, self.context.web.tell
        addresses = self._addresses(pictures)
        into = self.folder / pictures.into
        missing = {picture: url for picture, url in addresses.items() if not (into / picture).is_file()}
        for picture in addresses.keys() - missing.keys():
            tidy(into / picture)
        if missing:
            tell(f"fetching {name}: {len(missing):,} pictures of {self.row.page}, one by one")
        failed: dict[str, ClipalignError] = {}
        silent = size = 0
        with closing(self._fetch_together(missing, into)) as under_way:
            for number, (picture, future) in enumerate(under_way):
                if number and number % TELL_EVERY == 0:
                    tell(f"{name}: {number:,} of {len(missing):,} pictures")
                try:
                    size += future.result().size_bytes
                    silent = 0
                except RefusedError as error:
                    failed[picture] = error
                except DownloadFailed as error:
                    failed[picture] = error
                    silent += 1
                    if silent >= MAX_SILENT:
                        raise
        if failed:
            examples = ", ".join(list(failed)[:EXAMPLES])
            raise DownloadFailed(
                f"{len(failed):,} of {len(addresses):,} pictures of {name} could not be fetched, such as {examples}: "
                f"{next(iter(failed.values())).message}",
                hint="run it again later; the others are there",
                input=name,
            )
        return DownloadResult(into, f"{len(addresses):,} addresses", "", size, fresh=bool(missing))

    def _fetch_together(
        self, addresses: Mapping[str, str], into: Path
    ) -> Generator[tuple[str, Future[DownloadResult]], None, None]:
        """Yield each name with its download, :data:`CONNECTIONS` at a time, each thread with its own connection."""
        own = threading.local()

        def fetch_picture(name: str, url: str) -> DownloadResult:
            if not hasattr(own, "web"):
                own.web = replace(self.context.web, _session=None)
            return fetch(RemoteFile(url, name=name), into / name, web=own.web)

        pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="pictures")
        try:
            yield from [(name, pool.submit(fetch_picture, name, url)) for name, url in addresses.items()]
        finally:
            pool.shutdown(cancel_futures=True)  # what was begun is finished, so that no file is left half

    def _addresses(self, pictures: Pictures) -> dict[str, str]:
        listed_in = f"{pictures.listed_in} of {self.row.name}"
        try:
            listed = json.loads((self.folder / pictures.listed_in).read_text(encoding="utf-8"))["images"]
            needed = json.loads((self.folder / pictures.needed_by).read_text(encoding="utf-8"))
            addresses = {str(image["file_name"]): str(image["coco_url"]) for image in listed}
            names = sorted({str(one["image_path"]) for one in needed})
            found = {name: addresses[name] for name in names if name in addresses}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise VerificationFailed(f"{listed_in} is not laid out as it should be", input=self.row.name) from error
        if any(PurePosixPath(name).name != name or "\\" in name for name in found):
            raise VerificationFailed(f"{listed_in} names files outside its folder")
        if len(found) < len(names):
            raise VerificationFailed(f"{listed_in} lacks {len(names) - len(found):,} pictures")
        return found


def _in_first_kind(file: DataFile, ask: Callable[[bool], T]) -> T:
    """Return the answer for the first kind of repository that has ``file``; ``ask`` gets whether it is a data set."""
    for kind in file.kinds[:-1]:
        try:
            return ask(kind == "dataset")
        except RefusedError:
            continue
    return ask(file.kinds[-1] == "dataset")


def remove_dataset(row: DatasetRow, folder: Path) -> int:
    """Delete the data set's folder and return its bytes; raise ``OutputError`` if it cannot be deleted."""
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
