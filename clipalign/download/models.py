"""Weights, brought to where they are looked for.

Files of the Hub go into the Hub's cache and files of an address into ``~/.cache/clip``, the very places open_clip uses,
so that neither has to fetch what the other has. A cache folder that the user named holds them instead. The sources of a
row are tried in order; what one of them refuses, the next may have. A wrong hash ends it: that is no reason to go on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.cache import cache_folder, home_folder
from clipalign.download import hub
from clipalign.download.fetch import DownloadContext, DownloadResult, RemoteFile, fetch, in_bytes, tidy
from clipalign.download.web import RefusedError
from clipalign.download.web import host_of as host_of_address
from clipalign.errors import DownloadFailed, MissingWeights, UsageError, VerificationFailed
from clipalign.models.architecture import read_config
from clipalign.models.registry import WeightSource
from clipalign.models.weights import OPENAI_CACHE, locate, place_in_cache, remember_hash, sha256_on_record

if TYPE_CHECKING:
    from clipalign.models.registry import ModelRow

TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
"""What tokenizers are made of; no repository has all of them."""


def with_files(row: ModelRow) -> ModelRow:
    """``row`` with the files of its tag in place of the tag; open_clip, and with it torch, is imported only for that.

    Raises:
        UnknownModel: open_clip knows no such tag.
    """
    if not any(source.kind == "open_clip" for source in row.weights):
        return row
    from clipalign.models.load import resolve_tag

    return resolve_tag(row)


def fetch_model(row: ModelRow, context: DownloadContext) -> list[DownloadResult]:
    """Bring everything that loading ``row`` needs; what is here already is only looked at.

    Args:
        row: a registry row, or what :func:`clipalign.registry.find_model` made of a specification.
        context: the way things are fetched.

    Returns:
        The weights, then the files of a text tower or tokenizer that comes from elsewhere. Of a file of the user's own
        only the latter, or that file where they are all here.

    Raises:
        UsageError: ``row`` stands for a file of the user's own, and nothing of it comes from elsewhere.
        DownloadFailed, VerificationFailed, OutputError, UnknownModel.
    """
    row = with_files(row)
    if {source.kind for source in row.weights} == {"file"}:
        if not any(_text_repositories(row)):
            raise UsageError(f"{row.name} is a file of yours; there is nothing to fetch", input=row.name)
        return _text_files(row, context) or [_weights(row, context)]
    return [_weights(row, context), *_text_files(row, context)]


def _weights(row: ModelRow, context: DownloadContext) -> DownloadResult:
    try:
        found = locate(row, cache_dir=context.cache_dir)
    except VerificationFailed as error:
        context.web.tell(f"{error.message}; fetching it anew")
        brought = _first_source(row, context)  # takes the damaged one's place only when it is whole
        locate(row, cache_dir=context.cache_dir)  # the damaged one may lie elsewhere, and be found first
        return brought
    except MissingWeights:
        if {source.kind for source in row.weights} == {"embedded"}:
            raise
        return _first_source(row, context)
    if found.source.kind in ("hub", "url"):
        tidy(found.path)
    verified = found.source.kind == "embedded" or bool(sha256_on_record(found.source, found.path))
    size = found.path.stat().st_size
    return DownloadResult(found.path, described(found.source), found.sha256, size, verified=verified, fresh=False)


def _first_source(row: ModelRow, context: DownloadContext) -> DownloadResult:
    first: DownloadFailed | None = None
    silent: set[str] = set()  # hosts that did not answer once need not be waited for again
    for source in row.weights:
        if host_of(source) in silent:
            continue
        try:
            return fetch_source(source, row.name, context)
        except DownloadFailed as error:
            context.web.tell(f"not from {described(source)}: {error.message}")
            first = first or error
            if not isinstance(error, RefusedError):
                silent.add(host_of(source))
    assert first is not None  # a row has sources
    if len(row.weights) > 1:
        first.message += f"; nor from any other of its {len(row.weights)} sources"
        first.args = (first.message,)
    raise first


def host_of(source: WeightSource) -> str:
    """The server a source's file is on."""
    return host_of_address(hub.endpoint() if source.kind == "hub" else source.url)


def described(source: WeightSource) -> str:
    """Where a source's file is from, for people."""
    if source.kind == "hub":
        return f"{host_of(source)}/{source.repo}"
    return host_of(source) if source.kind == "url" else source.kind


def fetch_source(source: WeightSource, name: str, context: DownloadContext) -> DownloadResult:
    """Fetch one source's file of model ``name``."""
    if source.kind == "hub":
        found = _from_hub(source, name, context)
    else:
        target = place_of_address(source, context.cache_dir)
        wanted = RemoteFile(source.url, sha256=source.sha256, name=target.name)
        _announce(context, name, target.name, source.size_bytes, described(source), about=True)
        with context.progress(name) as advance:
            found = fetch(wanted, target, web=context.web, progress=advance)
    remember_hash(found.path, cache_folder(context.cache_dir), found.sha256)
    return replace(found, source=described(source))


def _from_hub(source: WeightSource, name: str, context: DownloadContext) -> DownloadResult:
    file = hub.look_up(context.web, source.repo, source.file, revision=source.revision)
    size = file.size_bytes or source.size_bytes
    _announce(context, name, source.file, size, described(source), about=not file.size_bytes)
    with context.progress(name) as advance:
        if context.cache_dir is None and file.commit and file.etag:
            return hub.fetch_into_cache(context.web, file, sha256=source.sha256, progress=advance)
        target = place_in_cache(source, cache_folder(context.cache_dir))
        with hub.explained(source.repo, source.file):
            return fetch(file.wanted(sha256=source.sha256), target, web=context.web, progress=advance)


def _announce(context: DownloadContext, name: str, file: str, size: int, place: str, *, about: bool) -> None:
    large = f"{'about ' if about else ''}{in_bytes(size)}" if size else "of unknown size"
    context.announce(f"fetching {name}: {file}, {large}, from {place}")


def place_of_address(source: WeightSource, cache_dir: Path | None) -> Path:
    """Where the file of an address goes: OpenAI's and open_clip's folder, or the cache that the user named."""
    own, home = place_in_cache(source, cache_folder(cache_dir)), home_folder()
    return own if cache_dir is not None or home is None else home / OPENAI_CACHE / own.name


def _text_files(row: ModelRow, context: DownloadContext) -> list[DownloadResult]:
    """A text tower's config and a tokenizer's files, where open_clip takes them from a repository of their own."""
    brought = []
    for repo, files in _text_repositories(row):
        if _is_here(repo, files):
            continue
        context.announce(f"fetching {row.name}: {'tokenizer' if len(files) > 1 else 'config'} of {repo}")
        missing: RefusedError | None = None
        found = 0
        for file in files:
            try:
                described_file = hub.look_up(context.web, repo, file)
            except RefusedError as error:
                if error.status != 404:
                    raise
                missing = error
                continue
            one = hub.fetch_into_cache(context.web, described_file)
            brought.append(replace(one, source=repo))
            found += 1
        if not found and missing is not None:
            raise missing
    return brought


def _text_repositories(row: ModelRow) -> Iterator[tuple[str, tuple[str, ...]]]:
    text = _config(row).get("text_cfg") or {}
    if text.get("hf_model_name"):
        yield str(text["hf_model_name"]), ("config.json",)
    if text.get("hf_tokenizer_name"):
        yield str(text["hf_tokenizer_name"]), TOKENIZER_FILES


def _config(row: ModelRow) -> dict[str, Any]:
    """The config of an open_clip architecture, read without importing it.

    Raises:
        ModelMismatch: a config of the user's that says what it may not.
    """
    if row.architecture.endswith(".json"):
        return read_config(Path(row.architecture)).config
    places = []
    package = find_spec("open_clip")
    for folder in (package.submodule_search_locations or []) if package else []:
        places.append(Path(folder, "model_configs", f"{row.architecture}.json"))
    for place in places:
        try:
            config = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(config, dict):
            inner = config.get("model_cfg", config)
            return inner if isinstance(inner, dict) else {}
    return {}


def _is_here(repo: str, files: tuple[str, ...]) -> bool:
    """Whether loading would find what it asks for first."""
    from clipalign.models.weights import find_in_hub_cache

    return any(find_in_hub_cache(repo, file) is not None for file in files[:2])
