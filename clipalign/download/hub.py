"""Hugging Face's Hub: what it says of a file, and where its own library looks for one.

A file goes into the Hub's cache (``HF_HUB_CACHE``, else ``HF_HOME``) in the layout of huggingface_hub, blobs with links
to them, so that open_clip and transformers find what was fetched here, and the other way round. ``HF_ENDPOINT`` and
``HF_TOKEN`` are respected; the token is told to the endpoint alone. Size and hash are the Hub's own, from the headers
of a ``HEAD`` request: SHA-256 for large files, git's name for small ones.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from clipalign.download.fetch import DownloadResult, RemoteFile, disk_error, fetch
from clipalign.download.web import RefusedError, Web, length_of, same_origin
from clipalign.errors import DownloadFailed, VerificationFailed
from clipalign.files import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

DEFAULT_ENDPOINT: Final = "https://huggingface.co"
PAGES: Final = 1000
"""Of a folder's list; more are a loop."""

LIST_BYTES: Final = 16_000_000
"""Of a page of it."""

FILES: Final = 100_000
LONGEST_PATH: Final = 1000

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_TAG = re.compile(r"[0-9A-Za-z._-]{1,128}")
_CHARACTERS: Final = "/@:+,=~"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository, as the Hub describes it.

    Attributes:
        repo: ``owner/name``.
        path: in the repository.
        revision: that was asked for.
        url: where it is.
        commit: the revision stands for; empty where the server does not say.
        etag: the name of its blob; empty where the server does not say, or says something that is no name.
        sha256: empty where the Hub does not keep it.
        git_sha1: for files that the Hub keeps in git.
        size_bytes: 0 where unknown.
        dataset: whether the repository is one of data.
    """

    repo: str
    path: str
    revision: str
    url: str
    commit: str = ""
    etag: str = ""
    sha256: str = ""
    git_sha1: str = ""
    size_bytes: int = 0
    dataset: bool = False

    def wanted(self, *, sha256: str = "") -> RemoteFile:
        """What to fetch, with what is on record besides.

        Raises:
            VerificationFailed: the Hub itself says that it has another file.
        """
        if sha256 and self.sha256 and not self.sha256.startswith(sha256):
            raise VerificationFailed(
                f"{self.path} of {self.repo} is not what it should be: the Hub says its SHA-256 is {self.sha256}, "
                f"not {sha256}",
                hint=f"the file was replaced there; see {page_of(self.repo, dataset=self.dataset)}",
                input=self.repo,
            )
        return RemoteFile(
            self.url,
            sha256=self.sha256 or sha256,
            git_sha1=self.git_sha1,
            size_bytes=self.size_bytes,
            token=token(),
            name=self.path,
        )


def endpoint() -> str:
    """``HF_ENDPOINT``, else Hugging Face itself."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def page_of(repo: str, *, dataset: bool = False) -> str:
    """Where a repository is described, for people."""
    return f"{endpoint()}/{'datasets/' if dataset else ''}{repo}"


def token() -> str:
    """``HF_TOKEN``, else what ``hf auth login`` left; empty where there is none, or none may be sent unasked."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return ""
    return get_token() or ""


def address(repo: str, path: str, *, revision: str = "", dataset: bool = False) -> str:
    """Where a file of a repository is to be had."""
    kind = "datasets/" if dataset else ""
    where = quote(revision or "main", safe="")
    return f"{endpoint()}/{kind}{quote(repo, safe='/')}/resolve/{where}/{quote(path, safe=_CHARACTERS)}"


def look_up(web: Web, repo: str, path: str, *, revision: str = "", dataset: bool = False) -> HubFile:
    """Ask the Hub for a file's commit, size and hash.

    Raises:
        RefusedError: it does not have it, or not for us; says what to check.
        DownloadFailed: it cannot be reached.
    """
    url = address(repo, path, revision=revision, dataset=dataset)

    def ask() -> HubFile:
        with web.ask("HEAD", url, token=token(), enough=_describes) as response:
            return _described(response, HubFile(repo, path, revision or "main", url, dataset=dataset))

    with explained(repo, path, dataset=dataset):
        return web.with_retries(ask)


def _describes(response: requests.Response) -> bool:
    return "X-Linked-Etag" in response.headers or "X-Repo-Commit" in response.headers


def _described(response: requests.Response, blank: HubFile) -> HubFile:
    headers = response.headers
    redirected = response.is_redirect
    linked = headers.get("X-Linked-Etag", "")
    etag = _name_of(linked or ("" if redirected else headers.get("ETag", "")))
    length = headers.get("X-Linked-Size") or ("" if redirected else headers.get("Content-Length", ""))
    commit = headers.get("X-Repo-Commit", "")
    return HubFile(
        repo=blank.repo,
        path=blank.path,
        revision=blank.revision,
        url=blank.url,
        commit=commit if _TAG.fullmatch(commit) and commit.strip(".") else "",
        etag=etag,
        sha256=etag if _SHA256.fullmatch(etag) else "",
        git_sha1=etag if _SHA1.fullmatch(etag) and not linked else "",
        size_bytes=length_of(length),
        dataset=blank.dataset,
    )


def _name_of(etag: str) -> str:
    """An ETag as a file's name; empty where it cannot be one: the server chooses it, and must not choose a path."""
    bare = etag.removeprefix("W/").strip('"')
    return bare if _TAG.fullmatch(bare) and bare.strip(".") else ""


@contextlib.contextmanager
def explained(repo: str, path: str, *, dataset: bool = False) -> Any:
    """Inside, the Hub's refusals become sentences that say what to check."""
    try:
        yield
    except RefusedError as error:
        if not same_origin(error.input, endpoint()):
            raise  # another server's, that the Hub sent us to
        page = page_of(repo, dataset=dataset)
        code = error.headers.get("x-error-code", "")
        has_token = bool(token())
        if code == "GatedRepo" or (error.status == 403 and has_token):
            message = f"{repo} is gated: its owner wants consent before {path} is given ({error.status})"
            hint = f"accept its conditions at {page}" + ("" if has_token else "; then set HF_TOKEN to your token")
        elif error.status in (401, 403):
            message = f"the Hub does not give {path} of {repo} ({error.status}): it is private, gated or absent"
            hint = f"look at {page}: no such page: the name is wrong; conditions: accept them; " + (
                "else the token has no access to it" if has_token else "private: set HF_TOKEN to a token with access"
            )
        elif error.status == 404:
            what = {"RepoNotFound": f"no repository {repo}", "RevisionNotFound": f"no such revision of {repo}"}.get(
                code, f"no {path} in {repo}"
            )
            message, hint = f"the Hub has {what} (404)", f"see {page}"
        else:
            raise
        raise RefusedError(message, status=error.status, headers=error.headers, hint=hint, input=repo) from error


def list_folder(web: Web, repo: str, folder: str, *, revision: str = "", dataset: bool = False) -> list[HubFile]:
    """The files of a repository's folder, sorted, with their sizes and hashes.

    Raises:
        RefusedError, DownloadFailed: as :func:`look_up`.
    """
    kind, where = "datasets" if dataset else "models", quote(revision or "main", safe="")
    inner = f"/{quote(folder, safe='/')}" if folder else ""
    url = f"{endpoint()}/api/{kind}/{quote(repo, safe='/')}/tree/{where}{inner}?recursive=true"
    found: dict[str, HubFile] = {}
    with explained(repo, folder or "its files", dataset=dataset):
        for _ in range(PAGES):
            entries, url = web.with_retries(lambda url=url: _page(web, url))  # type: ignore[misc]
            for entry in entries:
                for file in _listed(entry, HubFile(repo, "", revision or "main", "", dataset=dataset)):
                    if found.setdefault(file.path.casefold(), file) is not file:
                        raise DownloadFailed(f"the list of {repo} has {file.path!r:.200} twice", input=repo)
            if len(found) > FILES:
                break
            if not url:
                return sorted(found.values(), key=lambda file: file.path)
    raise DownloadFailed(f"the list of {repo} has no end", input=repo)


def _page(web: Web, url: str) -> tuple[list[Any], str]:
    with web.ask("GET", url, token=token()) as response:
        content = web.read(response, LIST_BYTES)
        following = response.links.get("next", {}).get("url", "")
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise DownloadFailed(f"{endpoint()} gives no list of files", input=url)
    if following and not same_origin(following, endpoint()):  # the token would go there
        raise DownloadFailed(f"the list of {endpoint()} goes on at another server, which is not asked", input=url)
    return entries, following


def _listed(entry: Any, blank: HubFile) -> list[HubFile]:
    if not isinstance(entry, dict) or entry.get("type") != "file":
        return []
    path, large = entry.get("path"), entry.get("lfs")
    if not isinstance(path, str) or not _is_inside(path):
        raise DownloadFailed(f"the list of {blank.repo} has a file that is none: {path!r:.200}", input=blank.repo)
    large = large if isinstance(large, dict) else {}
    sha256, git = str(large.get("oid", "")), str(entry.get("oid", ""))
    return [
        HubFile(
            repo=blank.repo,
            path=path,
            revision=blank.revision,
            url=address(blank.repo, path, revision=blank.revision, dataset=blank.dataset),
            sha256=sha256 if _SHA256.fullmatch(sha256) else "",
            git_sha1=git if not large and _SHA1.fullmatch(git) else "",
            size_bytes=length_of(large.get("size")) or length_of(entry.get("size")),
            dataset=blank.dataset,
        )
    ]


def _is_inside(path: str) -> bool:
    if {"", ".", ".."} & set(path.split("/")) or set("\\:") & set(path):
        return False
    return path.isprintable() and len(path) <= LONGEST_PATH


def hub_cache() -> Path:
    """The Hub's cache folder."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def storage(repo: str, *, dataset: bool = False) -> Path:
    """The folder of a repository in the Hub's cache."""
    return hub_cache() / "--".join(["datasets" if dataset else "models", *repo.split("/")])


def fetch_into_cache(
    web: Web, file: HubFile, *, sha256: str = "", progress: Callable[[int, int], None] = lambda done, total: None
) -> DownloadResult:
    """Fetch a file into the Hub's cache, where huggingface_hub finds it; at once where its blob is there already.

    Args:
        web: the network.
        file: as :func:`look_up` describes it, with its commit and its ETag.
        sha256: on record besides, or its first digits.
        progress: see :func:`clipalign.download.fetch.fetch`.

    Raises:
        DownloadFailed: the server does not give it, or ``file`` has no commit or no ETag, and so no place there.
        VerificationFailed, OutputError.
    """
    if not file.commit or not file.etag:
        raise DownloadFailed(
            f"{endpoint()} does not say which version of {file.path} of {file.repo} it has",
            hint="a mirror in HF_ENDPOINT must answer as the Hub does; name another, or none",
            input=file.repo,
        )
    folder = storage(file.repo, dataset=file.dataset)
    lock = hub_cache() / ".locks" / folder.name / f"{file.etag}.lock"  # huggingface_hub's own
    with explained(file.repo, file.path, dataset=file.dataset):
        blob = folder / "blobs" / file.etag
        found = fetch(file.wanted(sha256=sha256), blob, web=web, progress=progress, lock=lock)
    pointer = folder / "snapshots" / file.commit / Path(*PurePosixPath(file.path).parts)
    try:
        with exclusive(lock, wait_seconds=math.inf):
            _link(blob, pointer)
            if file.revision != file.commit:
                _write_ref(folder / "refs" / Path(*PurePosixPath(file.revision).parts), file.commit)
    except OSError as error:
        raise disk_error(error, file.path, pointer) from error
    return replace(found, path=pointer)


def _link(blob: Path, pointer: Path) -> None:
    """``pointer`` as a link to ``blob``, or as a copy of it where there are no links; replaced in one step."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    fresh = pointer.with_name(f"{pointer.name}.new")
    fresh.unlink(missing_ok=True)  # of a process that was killed
    try:
        fresh.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # Windows without the right to make links
        shutil.copyfile(blob, fresh)
    fresh.replace(pointer)


def _write_ref(ref: Path, commit: str) -> None:
    ref.parent.mkdir(parents=True, exist_ok=True)
    fresh = ref.with_name(f"{ref.name}.new")
    fresh.write_text(commit, encoding="utf-8")
    fresh.replace(ref)
