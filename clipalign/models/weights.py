"""Find weights on this machine and verify them.

For every source of a row, clipalign's own cache comes first, then the shared cache (Hugging Face's for the Hub,
``~/.cache/clip`` for addresses, as OpenAI's code and open_clip have it). Nothing is downloaded. Where a SHA-256 is
on record, the file's own is compared with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from clipalign.cache import cache_folder, home_folder, write_kept
from clipalign.errors import MissingWeights, ModelMismatch, VerificationFailed, name_some
from clipalign.files import is_file
from clipalign.models.folders import weight_files
from clipalign.models.registry import ModelRow, WeightSource

OPENAI_CACHE: Final = Path(".cache", "clip")
"""In the home folder: where OpenAI's package and open_clip put files from an address."""

_REMEMBERED_FROM_BYTES: Final = 64 * 1024 * 1024
"""Hashes of larger files are remembered: about half a second each for a ViT-B, three for a ViT-H."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file, or the index of several, on this machine; ``sha256`` matches the source's where that has one."""

    path: Path
    source: WeightSource
    sha256: str


def place_in_cache(source: WeightSource, cache: Path) -> Path:
    """Path in clipalign's own cache of a file of a Hub repository or an address."""
    if source.kind == "hub":
        return cache / "weights" / source.repo.replace("/", "--") / (source.revision or "main") / source.file
    address = urlsplit(source.url)
    return cache / "weights" / (address.hostname or "") / address.path.lstrip("/")


def locate(row: ModelRow, *, cache_dir: str | Path | None = None, offline: bool = False) -> WeightsFile:
    """The first of ``row``'s sources, its tags resolved, whose file is on this machine; ``offline`` shapes the error.

    Raises:
        MissingWeights: none exists, and the hint is the command that fetches them; or one may not be read.
        VerificationFailed: a file exists, but its SHA-256 is not the one on record.
        ModelMismatch: an index that names no weights.
    """
    cache = cache_folder(cache_dir)
    for source in row.weights:
        for path in candidates(source, cache):
            try:
                if path.is_file() and all(file.is_file() for file in weight_files(path)):
                    return WeightsFile(path, source, _verified_hash(path, source, row, cache))
            except OSError as error:
                raise MissingWeights(
                    f"{path} cannot be read: {error.strerror or error}", hint="check its rights", input=row.name
                ) from error
    raise _missing(row, offline=offline)


def _verified_hash(path: Path, source: WeightSource, row: ModelRow, cache: Path) -> str:
    """The SHA-256 of a file; of weights in several files that of their concatenated hashes."""
    files, hashes = weight_files(path), []
    for file in files:
        sha256, on_record = hash_file(file, cache), sha256_on_record(source, file)
        if not sha256.startswith(on_record):
            raise VerificationFailed(
                f"{file} is damaged or another file: SHA-256 {sha256[:12]}…, not {on_record[:12]}…",
                hint=f"delete it, then: clipalign download {shlex.quote(row.name)}",
                input=row.name,
            )
        hashes.append(sha256)
    return hashes[0] if files == (path,) else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _missing(row: ModelRow, *, offline: bool) -> MissingWeights:
    kinds = {source.kind for source in row.weights}
    if kinds == {"embedded"}:
        return MissingWeights(
            f"the weights of {row.name} are missing from this installation",
            hint="pip install --force-reinstall clipalign",
            input=row.name,
        )
    if kinds == {"file"}:
        path = Path(row.weights[0].file)
        lost = [file.name for file in weight_files(path) if not file.is_file()] if is_file(path) else []
        said = f"{path} names weights that are not beside it: {name_some(lost)}" if lost else f"there is no file {path}"
        return MissingWeights(said, input=row.name)
    forbidden = ", and --offline (or HF_HUB_OFFLINE) forbids fetching them" if offline else ""
    return MissingWeights(
        f"the weights of {row.name} are not on this machine{forbidden}",
        hint=f"clipalign download {shlex.quote(row.name)}",
        input=row.name,
    )


def candidates(source: WeightSource, cache: Path) -> list[Path]:
    """Paths that a source's file may have, clipalign's own cache first; the files need not exist."""
    if source.kind in ("embedded", "file"):
        return [Path(source.file)]
    own = place_in_cache(source, cache)
    if source.kind == "url":
        home = home_folder()
        return [own, home / OPENAI_CACHE / own.name] if home else [own]
    shared = find_in_hub_cache(source.repo, source.file, revision=source.revision)
    return [own, shared] if shared else [own]


def sha256_on_record(source: WeightSource, path: Path) -> str:
    """The hash that ``source``'s file at ``path`` must have, or its first digits; empty where it is unknown.

    Where the registry does not know it, the Hub's cache does: it names a large file's blob after its SHA-256.
    """
    if source.sha256 or not path.is_symlink():
        return source.sha256
    blob = path.resolve()
    return blob.name if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name) else ""


def find_in_hub_cache(repo: str, file: str, *, revision: str = "") -> Path | None:
    """A file of a Hub repository in Hugging Face's cache (``HF_HOME``, ``HF_HUB_CACHE``), or None; no network."""
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, cache_dir=constants.HF_HUB_CACHE, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def hub_file(repo: str, names: tuple[str, ...], row: ModelRow) -> Path:
    """The first of these files of a Hub repository, which ``row`` needs besides its weights, in the Hub's cache.

    MissingWeights if there is none; ModelMismatch if the config names no repository.
    """
    if not isinstance(repo, str):
        raise ModelMismatch(f"the config of {row.name} names a model or tokenizer {repo!r}", input=row.name)
    for name in names:
        if path := find_in_hub_cache(repo, name):
            return path
    raise MissingWeights(
        f"{row.name} needs files of {repo} that are not on this machine",
        hint=f"clipalign download {shlex.quote(row.name)}",
        input=row.name,
    )


def hash_file(path: Path, cache: Path) -> str:
    """SHA-256 of a file in lower-case hexadecimal, computed once a process.

    That of a large file is kept in ``cache`` by path, size and modification time.
    """
    identity = _identity(path)
    if identity[1] < _REMEMBERED_FROM_BYTES:
        return _sha256_once(*identity)
    if known := remembered_hash(path, cache):
        return known
    sha256 = sha256_of(path)
    remember_hash(path, cache, sha256)
    return sha256


def remembered_hash(path: Path, cache: Path) -> str:
    """The hash of ``path`` as last computed; empty where it never was, or the file has changed since."""
    try:
        known = json.loads(_record(path, cache).read_text(encoding="utf-8"))
        return str(known["sha256"]) if known["identity"] == list(_identity(path)) else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""  # nothing remembered, or nothing readable


def remember_hash(path: Path, cache: Path, sha256: str) -> None:
    try:
        record = _record(path, cache)
        write_kept(record, json.dumps({"identity": _identity(path), "sha256": sha256}).encode())
    except OSError:
        pass  # a read-only cache costs time, nothing else


def forget_hash(path: Path, cache: Path) -> None:
    _sha256_once.cache_clear()
    with contextlib.suppress(OSError):
        _record(path, cache).unlink(missing_ok=True)


def _identity(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path.resolve()), stat.st_size, stat.st_mtime_ns


def _record(path: Path, cache: Path) -> Path:
    place = str(path.resolve()).encode("utf-8", "surrogateescape")
    return cache / "hashes" / f"{hashlib.sha256(place).hexdigest()[:32]}.json"


@lru_cache(maxsize=32)
def _sha256_once(path: str, size_bytes: int, changed_ns: int) -> str:
    """A command looks for its weights before torch is imported, and again when it loads them."""
    return sha256_of(Path(path))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in lower-case hexadecimal, always read again."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
