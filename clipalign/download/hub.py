"""Hugging Face's Hub: what it says of a file, and where its own library keeps one.

Files go into the Hub's cache (``HF_HUB_CACHE``, else ``HF_HOME``) in the layout of huggingface_hub, so that open_clip
and transformers find them, and the other way round. ``HF_ENDPOINT`` and ``HF_TOKEN`` are respected. Size and hash are
the Hub's own: SHA-256 for large files, git's object name for small ones.

The requests do not use huggingface_hub, which trusts the server too much: it writes to any path that an ETag names,
sends the token to whatever address a list continues at, follows redirects to private addresses, and waits without end
for a slow server.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from clipalign.download.fetch import Advance, DownloadResult, RemoteFile, disk_error, fetch
from clipalign.download.web import RefusedError, Web, length_of, same_origin
from clipalign.errors import DownloadFailed, VerificationFailed
from clipalign.files import exclusive, write_whole

if TYPE_CHECKING:
    import requests

DEFAULT_ENDPOINT: Final = "https://huggingface.co"

MAX_PAGES: Final = 1000

MAX_PAGE_BYTES: Final = 16_000_000
MAX_FILES: Final = 100_000
MAX_PATH: Final = 1000

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_TAG = re.compile(r"[0-9A-Za-z._-]{1,128}")
_PLAIN_IN_PATHS: Final = "/@:+,=~"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository ``owner/name``, as the Hub describes it.

    Attributes:
        path: in the repository.
        commit: of the requested revision; empty if the server does not say.
        etag: name of its blob; empty if missing or not a valid name.
        sha256: empty if the Hub does not keep it.
        git_sha1: for files that the Hub keeps in git.
        size_bytes: 0 if unknown.
    """

    repo: str
    path: str
    revision: str = "main"
    dataset: bool = False
    commit: str = ""
    etag: str = ""
    sha256: str = ""
    git_sha1: str = ""
    size_bytes: int = 0

    @property
    def url(self) -> str:
        place = (
            f"{'datasets/' if self.dataset else ''}{quote(self.repo, safe='/')}/resolve/{quote(self.revision, safe='')}"
        )
        return f"{endpoint()}/{place}/{quote(self.path, safe=_PLAIN_IN_PATHS)}"

    def remote(self, *, sha256: str = "") -> RemoteFile:
        """Return what to fetch; raise ``VerificationFailed`` if the Hub's hash is not the one on record."""
        if not self.sha256.startswith(sha256) and self.sha256:
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
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def page_of(repo: str, *, dataset: bool = False) -> str:
    return f"{endpoint()}/{'datasets/' if dataset else ''}{repo}"


def token() -> str:
    """Return ``HF_TOKEN``, else what ``hf auth login`` stored; empty if there is none or it must not be sent."""
    from huggingface_hub import constants, get_token

    return "" if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token() or ""


def look_up(web: Web, repo: str, path: str, *, revision: str = "", dataset: bool = False) -> HubFile:
    """Ask the Hub for a file's commit, size and hash.

    Raises:
        RefusedError: the file does not exist or access is denied; the hint says what to check.
        DownloadFailed: the Hub cannot be reached.
    """
    file = HubFile(repo, path, revision or "main", dataset)

    def ask() -> HubFile:
        with web.ask("HEAD", file.url, token=token(), enough=_describes) as response:
            return _described(response, file)

    with explained(repo, path, dataset=dataset):
        return web.with_retries(ask)


def _describes(response: requests.Response) -> bool:
    return "X-Linked-Etag" in response.headers or "X-Repo-Commit" in response.headers


def _described(response: requests.Response, file: HubFile) -> HubFile:
    headers = response.headers
    linked = headers.get("X-Linked-Etag", "")
    own = {} if response.is_redirect else headers  # a redirect's own headers describe the redirect
    etag = _name_in(linked or own.get("ETag", ""))
    return replace(
        file,
        commit=_name_in(headers.get("X-Repo-Commit", "")),
        etag=etag,
        sha256=etag if _SHA256.fullmatch(etag) else "",
        git_sha1=etag if _SHA1.fullmatch(etag) and not linked else "",
        size_bytes=length_of(headers.get("X-Linked-Size") or own.get("Content-Length", "")),
    )


def _name_in(header: str) -> str:
    """Return a file's name from a header; empty if invalid, as the server must not choose a path."""
    bare = header.removeprefix("W/").strip('"')
    return bare if _TAG.fullmatch(bare) and bare.strip(".") else ""


@contextmanager
def explained(repo: str, path: str, *, dataset: bool = False) -> Iterator[None]:
    """Turn the Hub's refusals inside into errors that say what to check."""
    try:
        yield
    except RefusedError as error:
        if not same_origin(error.input, endpoint()):
            raise  # another server's, that the Hub redirected to
        page = page_of(repo, dataset=dataset)
        code = error.headers.get("x-error-code", "")
        has_token = bool(token())
        if code == "GatedRepo" or (error.status == 403 and has_token):
            message = f"{repo} is gated: its owner asks for consent before {path} is given ({error.status})"
            hint = f"accept its conditions at {page}" + ("" if has_token else "; then set HF_TOKEN to your token")
        elif error.status in (401, 403):
            message = f"the Hub does not give {path} of {repo} ({error.status}): it is private, gated or absent"
            hint = f"look at {page}: no such page: the name is wrong; conditions: accept them; " + (
                "else the token has no access to it" if has_token else "private: set HF_TOKEN to a token with access"
            )
        elif error.status == 404:
            what = {"RepoNotFound": f"no repository {repo}", "RevisionNotFound": f"no such revision of {repo}"}
            message, hint = f"the Hub has {what.get(code, f'no {path} in {repo}')} (404)", f"see {page}"
        else:
            raise
        raise RefusedError(message, status=error.status, headers=error.headers, hint=hint, input=repo) from error


def list_folder(web: Web, repo: str, folder: str, *, revision: str = "", dataset: bool = False) -> list[HubFile]:
    """Return the files of a repository's folder, sorted; raises as :func:`look_up`."""
    place = f"{'datasets' if dataset else 'models'}/{quote(repo, safe='/')}/tree/{quote(revision or 'main', safe='')}"
    inner = f"/{quote(folder, safe='/')}" if folder else ""
    url = f"{endpoint()}/api/{place}{inner}?recursive=true"
    found: dict[str, HubFile] = {}
    with explained(repo, folder or "its files", dataset=dataset):
        for _ in range(MAX_PAGES):
            entries, url = web.with_retries(lambda url=url: _page(web, url))  # type: ignore[misc]
            for entry in entries:
                if not isinstance(entry, dict) or entry.get("type") != "file":
                    continue
                file = _listed(entry, HubFile(repo, "", dataset=dataset))
                if found.setdefault(file.path.casefold(), file) is not file:
                    raise DownloadFailed(f"the list of {repo} has {file.path!r:.200} twice", input=repo)
            if len(found) > MAX_FILES:
                break
            if not url:
                return sorted(found.values(), key=lambda file: file.path)
    raise DownloadFailed(f"the list of {repo} has no end", input=repo)


def _page(web: Web, url: str) -> tuple[list[Any], str]:
    """Return the entries of a page, and the address of the next."""
    with web.ask("GET", url, token=token()) as response:
        content = web.read(response, MAX_PAGE_BYTES)
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


def _listed(entry: dict[str, Any], file: HubFile) -> HubFile:
    path, large = entry.get("path"), entry.get("lfs")
    if not isinstance(path, str) or not _is_inside(path):
        raise DownloadFailed(f"the list of {file.repo} has an invalid file name: {path!r:.200}", input=file.repo)
    large = large if isinstance(large, dict) else {}
    sha256, git_sha1 = str(large.get("oid", "")), str(entry.get("oid", ""))
    return replace(
        file,
        path=path,
        sha256=sha256 if _SHA256.fullmatch(sha256) else "",
        git_sha1=git_sha1 if not large and _SHA1.fullmatch(git_sha1) else "",
        size_bytes=length_of(large.get("size")) or length_of(entry.get("size")),
    )


def _is_inside(path: str) -> bool:
    if {"", ".", ".."} & set(path.split("/")) or set("\\:") & set(path):
        return False
    return path.isprintable() and len(path) <= MAX_PATH


def hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def storage(repo: str) -> Path:
    return hub_cache() / "--".join(["models", *repo.split("/")])


def fetch_into_cache(
    web: Web, file: HubFile, *, sha256: str = "", progress: Advance = lambda done, total: None
) -> DownloadResult:
    """Fetch a file of a model into the Hub's cache unless its blob is there; it must have a commit and an ETag."""
    if not file.commit or not file.etag:
        raise DownloadFailed(
            f"{endpoint()} does not say which version of {file.path} of {file.repo} it has",
            hint="a mirror in HF_ENDPOINT must answer as the Hub does; name another, or none",
            input=file.repo,
        )
    folder = storage(file.repo)
    lock = hub_cache() / ".locks" / folder.name / f"{file.etag}.lock"  # huggingface_hub's own
    blob = folder / "blobs" / file.etag
    with explained(file.repo, file.path):
        found = fetch(file.remote(sha256=sha256), blob, web=web, progress=progress, lock=lock)
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
    """Link ``pointer`` to ``blob``, or copy it where links are not possible, replacing it in one step."""
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
    write_whole(ref, commit.encode())
