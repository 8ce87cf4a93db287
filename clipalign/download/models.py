"""Fetch weights into the places where they are looked for.

Files of the Hub go into the Hub's cache and files of an address into ``~/.cache/clip``, which open_clip shares, unless
the user named a cache folder. A row's sources are tried in order after a refusal; a wrong hash is an error at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipalign.cache import cache_folder, home_folder
from clipalign.download import hub
from clipalign.download.fetch import DownloadContext, DownloadResult, RemoteFile, announcement, fetch, tidy
from clipalign.download.web import RefusedError
from clipalign.download.web import host_of as host_of_address
from clipalign.errors import DownloadFailed, MissingWeights, UsageError, VerificationFailed
from clipalign.models.architecture import read_config
from clipalign.models.folders import INDEX, PREPROCESSING, TOKENIZER, choose_files, weight_files
from clipalign.models.registry import WeightSource, open_clip_configs
from clipalign.models.weights import (
    OPENAI_CACHE,
    find_in_hub_cache,
    locate,
    place_in_cache,
    remember_hash,
    sha256_on_record,
)

if TYPE_CHECKING:
    from clipalign.models.registry import ModelRow


def with_files(row: ModelRow) -> ModelRow:
    """Replace the open_clip tag of ``row`` by its files; only this imports open_clip, and with it torch."""
    if not any(source.kind == "open_clip" for source in row.weights):
        return row
    from clipalign.models.load import resolve_tag

    return resolve_tag(row)


def fetch_model(row: ModelRow, context: DownloadContext) -> list[DownloadResult]:
    """Fetch everything missing that loading ``row`` needs.

    Returns:
        The weights, then the files of a text encoder or tokenizer from another source. For a file of the user's own,
        the latter alone, or that file if nothing was missing.

    Raises:
        UsageError: ``row`` is a file of the user's own that needs nothing else.
        DownloadFailed, VerificationFailed, OutputError, UnknownModel.
    """
    row = with_files(row)
    if row.is_repository:
        return _repository(row, context)
    if {source.kind for source in row.weights} == {"file"}:
        if not any(_text_repositories(row)):
            raise UsageError(f"{row.name} is a file of yours; there is nothing to fetch", input=row.name)
        return _text_files(row, context) or [_weights(row, context)]
    return [_weights(row, context), *_text_files(row, context)]


def _repository(row: ModelRow, context: DownloadContext) -> list[DownloadResult]:
    """Fetch all files of a model's repository, rejecting an unsupported model first; offline, use the local ones."""
    source = row.weights[0]
    try:
        listed = {file.path for file in hub.list_folder(context.web, source.repo, "", revision=source.revision)}
    except DownloadFailed as error:
        try:
            found = locate(row, cache_dir=context.cache_dir)
        except MissingWeights:
            raise error from None
        size = sum(file.stat().st_size for file in weight_files(found.path))
        verified = bool(sha256_on_record(found.source, found.path))
        return [DownloadResult(found.path, described(found.source), found.sha256, size, verified=verified, fresh=False)]
    config, weights = choose_files(listed, source.repo)
    first, commit = _from_hub(replace(source, file=config), row.name, context)
    row = replace(row, architecture=str(first.path))
    read_config(first.path)  # what is not served need not be fetched
    names = [name for name in (*PREPROCESSING, *TOKENIZER, weights) if name in listed]
    fetched = [first, *(_from_hub(replace(source, file=name), row.name, context, commit)[0] for name in names)]
    if weights.endswith(INDEX):
        shards = weight_files(fetched[-1].path)
        fetched += [_from_hub(replace(source, file=one.name), row.name, context, commit)[0] for one in shards]
    where = described(source)
    here = [replace(one, source=where, fresh=one.resumed_bytes < one.size_bytes) for one in fetched]
    return [*here, *_text_files(row, context)]


def _weights(row: ModelRow, context: DownloadContext) -> DownloadResult:
    try:
        found = locate(row, cache_dir=context.cache_dir)
    except VerificationFailed as error:
        context.web.tell(f"{error.message}; fetching it anew")
        fetched = _first_source(row, context)  # takes the damaged one's place only when it is complete
        locate(row, cache_dir=context.cache_dir)  # the damaged one may lie elsewhere, and be found first
        return fetched
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
            return _fetch_source(source, row.name, context)
        except DownloadFailed as error:
            context.web.tell(f"not from {described(source)}: {error.message}")
            first = first or error
            if not isinstance(error, RefusedError):
                silent.add(host_of(source))
    assert first is not None  # a row has sources
    if len(row.weights) > 1:
        first.message += "; nor from another of its sources"
        first.args = (first.message,)
    raise first


def host_of(source: WeightSource) -> str:
    return host_of_address(hub.endpoint() if source.kind == "hub" else source.url)


def described(source: WeightSource) -> str:
    if source.kind == "hub":
        return f"{host_of(source)}/{source.repo}"
    return host_of(source) if source.kind == "url" else source.kind


def _fetch_source(source: WeightSource, name: str, context: DownloadContext) -> DownloadResult:
    cache = cache_folder(context.cache_dir)
    if source.kind == "hub":
        found, _ = _from_hub(source, name, context)
    else:
        target = place_of_address(source, context.cache_dir)
        remote = RemoteFile(source.url, sha256=source.sha256, name=target.name)
        context.web.tell(announcement(name, target.name, source.size_bytes, described(source), approximate=True))
        with context.progress(name) as advance:
            found = fetch(remote, target, web=context.web, progress=advance)
    remember_hash(found.path, cache, found.sha256)
    return replace(found, source=described(source))


def _from_hub(
    source: WeightSource, name: str, context: DownloadContext, commit: str = ""
) -> tuple[DownloadResult, str]:
    file = hub.look_up(context.web, source.repo, source.file, revision=commit or source.revision)
    size, place = file.size_bytes or source.size_bytes, described(source)
    context.web.tell(announcement(name, source.file, size, place, approximate=not file.size_bytes))
    with context.progress(name) as advance:
        if context.cache_dir is None and file.commit and file.etag:
            return hub.fetch_into_cache(context.web, file, sha256=source.sha256, progress=advance), file.commit
        target = place_in_cache(source, cache_folder(context.cache_dir))
        with hub.explained(source.repo, source.file):
            found = fetch(file.remote(sha256=source.sha256), target, web=context.web, progress=advance)
            return found, file.commit


def place_of_address(source: WeightSource, cache_dir: Path | None) -> Path:
    """Return where the file of an address goes: the folder of OpenAI and open_clip, or the named cache."""
    own, home = place_in_cache(source, cache_folder(cache_dir)), home_folder()
    return own if cache_dir is not None or home is None else home / OPENAI_CACHE / own.name


def _text_files(row: ModelRow, context: DownloadContext) -> list[DownloadResult]:
    fetched: list[DownloadResult] = []
    for repo, files in _text_repositories(row):
        if any(find_in_hub_cache(repo, file) for file in files[:2]):  # what loading asks for first
            continue
        context.web.tell(f"fetching {row.name}: {'tokenizer' if len(files) > 1 else 'config'} of {repo}")
        missing: RefusedError | None = None
        before = len(fetched)
        for file in files:
            try:
                found = hub.look_up(context.web, repo, file)
            except RefusedError as error:
                if error.status != 404:
                    raise
                missing = error
            else:
                fetched.append(replace(hub.fetch_into_cache(context.web, found), source=repo))
        if len(fetched) == before and missing is not None:
            raise missing
    return fetched


def _text_repositories(row: ModelRow) -> Iterator[tuple[str, tuple[str, ...]]]:
    local = read_config(Path(row.architecture)) if row.architecture.endswith(".json") else None
    text = (local.config if local else _config(row)).get("text_cfg") or {}
    if text.get("hf_model_name"):
        yield str(text["hf_model_name"]), ("config.json",)
    if text.get("hf_tokenizer_name") and not (local and local.tokenizer):
        yield str(text["hf_tokenizer_name"]), TOKENIZER


def _config(row: ModelRow) -> dict[str, Any]:
    """Read the architecture of open_clip without importing it."""
    file = open_clip_configs().get(row.architecture)
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file else {}
    return config
