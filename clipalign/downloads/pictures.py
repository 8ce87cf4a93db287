"""Pictures of a data set, fetched one by one from the addresses that one of its files lists."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from clipalign.downloads.errand import Brought, Errand
from clipalign.downloads.fetch import fetch, tidy
from clipalign.downloads.wanted import Fetched, Wanted
from clipalign.downloads.web import RefusedError
from clipalign.errors import ClipalignError, DownloadFailed, VerificationFailed
from clipalign.registry.datasets import DatasetRow

EXAMPLES: Final = 3
TOLD_EVERY: Final = 250
SILENT: Final = 3
"""Pictures in a row that a server does not answer for; it will not answer for the next thousand either."""

TOGETHER: Final = 4
"""Pictures asked for at a time: enough to hide the way there and back, and no burden for a server."""


def fetch_pictures(row: DatasetRow, folder: Path, errand: Errand) -> list[Brought]:
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
        errand.announce(f"fetching {row.name}: {len(missing):,} pictures of {row.page}, one by one")
    failed: dict[str, ClipalignError] = {}
    silent = size = 0
    with closing(_coming(missing, into, errand)) as under_way:
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
    return [Brought(into, f"{len(wanted):,} addresses", "", size, fresh=bool(missing))]


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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise VerificationFailed(
            f"{row.pictures.listed_in} of {row.name} is not laid out as it should be", input=row.name
        ) from error
    if any(PurePosixPath(name).name != name or "\\" in name for name in found):
        raise VerificationFailed(f"{row.pictures.listed_in} of {row.name} names files outside its folder")
    if len(found) < len(names):
        raise VerificationFailed(f"{row.pictures.listed_in} of {row.name} lacks {len(names) - len(found):,} pictures")
    return found
