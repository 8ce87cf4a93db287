"""What can be downloaded, by name, and its status on this machine; no network is used.

A name is a model's, as ``--model`` takes it, or a data set's. It is verified if the hash its file had when last read is
the one on record.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from clipalign.cache import cache_folder, data_folder
from clipalign.download.dataset_rows import DATASETS, DatasetRow
from clipalign.download.datasets import by_hand, remove_dataset
from clipalign.download.fetch import disk_error, drop_part, partial_path
from clipalign.download.hub import storage
from clipalign.download.licenses import LicenseClass, license_class, license_of_family
from clipalign.download.manifest import damaged, is_there, read_manifest
from clipalign.download.models import described, place_of_address, with_files
from clipalign.errors import (
    DOWNLOAD_LINE,
    ClipalignError,
    LicenseNotAccepted,
    UnknownDataset,
    UnknownModel,
    UsageError,
)
from clipalign.models.folders import weight_files
from clipalign.models.registry import LISTED, ROWS, ModelRow, WeightSource, find_model
from clipalign.models.weights import (
    candidates,
    forget_hash,
    hash_file,
    place_in_cache,
    remember_hash,
    remembered_hash,
    sha256_on_record,
)

State = Literal["here", "part", "absent", "by hand", "damaged"]

GENERATED: Final = (
    *("pictogram-foil", "pictogram-varied", "pictogram-unseen", "pictogram-combinations"),
    *("pictogram-classify", "pictogram-long", "pictogram-varied-long"),
)
"""Data sets that are generated on use and never downloaded."""


@dataclass(frozen=True, slots=True)
class Status:
    """A model or data set that can be downloaded, and its state on this machine.

    Attributes:
        kind: ``model`` or ``dataset``.
        size_bytes: of the download, perhaps rounded; 0 if unknown.
        state: ``here``, ``part``, ``absent``, ``by hand`` (absent, and cannot be downloaded) or ``damaged``.
        verified: whether the local files matched a hash on record.
        needs: names of what it requires.
        commands: for a model, those it was made for.
    """

    name: str
    kind: Literal["model", "dataset"]
    size_bytes: int
    license: str
    license_class: LicenseClass
    source: str
    state: State
    verified: bool
    place: Path
    title: str
    note: str = ""
    needs: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def find(name: str) -> ModelRow | DatasetRow:
    """Return the row named ``name``.

    Raises:
        UnknownModel, UnknownDataset: nothing has that name.
        UsageError: it is generated and never downloaded.
    """
    if name in DATASETS:
        return DATASETS[name]
    try:
        return find_model(name)
    except UnknownModel as error:
        if name in GENERATED:
            raise UsageError(f"{name} is generated where it is used; there is nothing to fetch", input=name) from error
        near = difflib.get_close_matches(name.lower(), DATASETS, n=2, cutoff=0.6)
        if near:
            raise UnknownDataset(
                f"unknown name {name!r}", hint=f"did you mean {' or '.join(near)}?", input=name
            ) from error
        if error.hint != LISTED:
            raise
        raise UnknownModel(f"unknown name {name!r}", hint=LISTED, input=name) from error


def all_statuses(cache_dir: Path | None) -> list[Status]:
    return [status_of(find(name), cache_dir) for name in (*ROWS, *DATASETS)]


def status_of(row: ModelRow | DatasetRow, cache_dir: Path | None) -> Status:
    return _model(row, cache_dir) if isinstance(row, ModelRow) else _dataset(row, cache_dir)


def license_of(row: ModelRow) -> tuple[str, LicenseClass]:
    """Return a model's license and its class; for an open_clip tag, those of its family if known."""
    license = row.license
    if not license and row.weights:
        source = row.weights[0]
        license = license_of_family(source.repo or source.url)
    return license, license_class(license)


def _model(row: ModelRow, cache_dir: Path | None) -> Status:
    cache = cache_folder(cache_dir)
    license, kind = license_of(row)
    found = [(source, path) for source in row.weights for path in candidates(source, cache) if path.is_file()]
    first = row.weights[0]
    state: State = "absent"
    verified = False
    place = place_of(first, cache_dir)
    if found:
        source, place = found[0]
        on_record = sha256_on_record(source, place)
        known = remembered_hash(place, cache)
        verified = source.kind == "embedded" or bool(on_record and known and known.startswith(on_record))
        state = "damaged" if on_record and known and not known.startswith(on_record) else "here"
    elif any(_parts(source, cache_dir) for source in row.weights):
        state = "part"
    return Status(
        name=row.name,
        kind="model",
        size_bytes=place.stat().st_size if found else first.size_bytes,
        license=license,
        license_class=kind,
        source="part of clipalign" if first.kind == "embedded" else described(found[0][0] if found else first),
        state=state,
        verified=verified,
        place=place,
        title=row.note,
        note="" if row.epsilon_tested or "detect" not in row.commands else "epsilon of detect not tested",
        commands=row.commands,
    )


def place_of(source: WeightSource, cache_dir: Path | None) -> Path:
    if source.kind == "hub":
        return storage(source.repo) if cache_dir is None else place_in_cache(source, cache_folder(cache_dir))
    return place_of_address(source, cache_dir) if source.kind == "url" else Path(source.file)


def _parts(source: WeightSource, cache_dir: Path | None) -> list[Path]:
    if source.kind not in ("hub", "url"):
        return []
    places = [partial_path(place_in_cache(source, cache_folder(cache_dir)))]
    if source.kind == "url":
        places.append(partial_path(place_of_address(source, cache_dir)))
    else:
        places += sorted((storage(source.repo) / "blobs").glob("*.part"))
    return [place for place in dict.fromkeys(places) if place.is_file()]


def _dataset(row: DatasetRow, cache_dir: Path | None) -> Status:
    folder = data_folder(row.name, cache_dir=cache_dir)
    known = [read_manifest(folder, file) for file in row.files]
    there = [is_there(folder, file) for file in row.files]
    pictures = row.pictures is None or (folder / row.pictures.into).is_dir()
    state: State = "absent"
    if all(there) and pictures:
        state = "here"
    elif any(there) or any(partial_path(folder / file.path).is_file() for file in row.files):
        state = "part"
    elif row.by_hand_alone:
        state = "by hand"
    return Status(
        name=row.name,
        kind="dataset",
        size_bytes=row.size_bytes,
        license=row.license,
        license_class=row.license_class,
        source=row.page,
        state=state,
        verified=state == "here" and all(one is not None and one.verified for one in known),
        place=folder,
        title=row.title,
        note=row.note,
        needs=row.needs,
    )


def check_license(row: ModelRow | DatasetRow, accepted: Iterable[str]) -> None:
    """Raise ``LicenseNotAccepted`` if the license is not ``free`` and the name is not in ``accepted``."""
    if isinstance(row, ModelRow):
        if all(source.kind in ("embedded", "file") for source in row.weights):
            return
        license, kind = license_of(row)
        page = described(row.weights[0])
    else:
        license, kind, page = row.license, row.license_class, row.page
    if kind == "free" or row.name in accepted:
        return
    why = {
        "non-commercial": f"{row.name} is not for commercial use ({license})",
        "consent or account": f"{row.name} needs consent ({license})",
        "none stated": f"the license of {row.name} is not a free one that clipalign knows ({license or 'not stated'})",
    }[kind]
    name = shlex.quote(row.name)
    raise LicenseNotAccepted(
        f"{why}; see {page}", hint=f"clipalign download {name} --accept-license {name}", input=row.name
    )


def with_flags(hint: str, folder: str) -> str:
    """Complete the lines to fetch something in ``hint``: its license where that must be accepted, ``--cache-dir``."""

    def complete(line: re.Match[str]) -> str:
        name = line[1] or line[2]
        accepted = "" if line[3] or not _needs_consent(name) else f" --accept-license {shlex.quote(name)}"
        return line[0] + accepted + (f" --cache-dir {shlex.quote(folder)}" if folder else "")

    return hint if "--cache-dir" in hint else DOWNLOAD_LINE.sub(complete, hint)


def _needs_consent(name: str) -> bool:
    try:
        row = find(name)
        if not (isinstance(row, DatasetRow) and row.by_hand_alone):
            check_license(row, ())
    except LicenseNotAccepted:
        return True
    except ClipalignError:
        pass
    return False


def verify(row: ModelRow | DatasetRow, cache_dir: Path | None) -> list[str]:
    """Read all local files of ``row``, ignoring cached hashes, and return a sentence for each that is wrong."""
    if isinstance(row, DatasetRow):
        return damaged(row, data_folder(row.name, cache_dir=cache_dir))
    cache = cache_folder(cache_dir)
    wrong = []
    for source in row.weights:
        for path in _files(source, cache):
            if path.is_file():
                forget_hash(path, cache)
                sha256, on_record = hash_file(path, cache), sha256_on_record(source, path)
                remember_hash(path, cache, sha256)  # small files too: lists say whether they are verified
                if on_record and not sha256.startswith(on_record):
                    wrong.append(f"{path}: its SHA-256 is {sha256}, not {on_record}")
    return wrong


def _files(source: WeightSource, cache: Path) -> list[Path]:
    places = candidates(source, cache)
    return list(dict.fromkeys(file for path in places for file in (*_named(path), path)))


def _named(path: Path) -> tuple[Path, ...]:
    return weight_files(path) if path.is_file() else ()


def remove(row: ModelRow | DatasetRow, cache_dir: Path | None) -> tuple[list[Path], int]:
    """Delete the local files of ``row``, unfinished parts included; return their paths and total bytes.

    Raises:
        UsageError: it is part of clipalign, or a file of the user's.
        OutputError: it cannot be deleted.
    """
    if isinstance(row, DatasetRow):
        folder = data_folder(row.name, cache_dir=cache_dir)
        return ([folder] if folder.exists() else []), remove_dataset(row, folder)
    row = with_files(row)
    if any(source.kind == "embedded" for source in row.weights):
        raise UsageError(f"{row.name} is part of clipalign and cannot be removed", input=row.name)
    if any(source.kind == "file" for source in row.weights):
        raise UsageError(f"{row.name} is a file of yours and is left alone", input=row.name)
    cache = cache_folder(cache_dir)
    gone: list[Path] = []
    size = 0
    for source in row.weights:
        found = [path for path in _files(source, cache) if path.is_file()]
        for path in dict.fromkeys([*found, *_parts(source, cache_dir)]):
            try:
                size += _delete(path)
            except OSError as error:
                raise disk_error(error, row.name, path) from error
            gone.append(path)
    return gone, size


def _delete(path: Path) -> int:
    """Delete a file, and the Hub's blob behind it unless another link needs it; return its bytes."""
    blob = path.resolve()
    size = blob.stat().st_size
    if path.suffix == ".part":
        return drop_part(path.with_suffix(""))
    path.unlink()
    if blob != path and blob.parent.name == "blobs":
        snapshots = blob.parent.parent / "snapshots"
        if any(other.is_symlink() and other.resolve() == blob for other in snapshots.rglob("*")):
            return 0
        blob.unlink(missing_ok=True)
    return size


def still_by_hand(row: ModelRow | DatasetRow, cache_dir: Path | None) -> list[str]:
    return by_hand(row, data_folder(row.name, cache_dir=cache_dir)) if isinstance(row, DatasetRow) else []
