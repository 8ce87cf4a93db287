"""Downloads that are killed: weights into the Hub's cache and beside OpenAI's, archives being unpacked, two at once.

The server is a process of its own on this machine that sends slowly and, now and then, not all of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import signal
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tests.hardening.kills_scenes import Scene, is_cache_part, without_place
from tests.server import Behavior, Handler, Server

REPO: Final = "timm/vit_base_patch32_clip_224.openai"
FILE: Final = "open_clip_model.safetensors"

PIECE_BYTES: Final = 32 << 10
PAUSE_SECONDS: Final = 0.006
CUTS: Final = 0.2
"""Of answers: the connection breaks somewhere."""

URL_FILE: Final = "server-url"

_HASH: Final = re.compile(r"home/\.cache/clipalign/hashes/[0-9a-f]{32}\.json")
"""Remembered hashes are named by the place of their file, which is another in every play."""


@dataclass(frozen=True)
class Served:
    """What the server has: contents by path, and files of the Hub by repository and name."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    hub: Mapping[tuple[str, str], bytes] = field(default_factory=dict)


class _Slow:
    """A stream that takes its time."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        for place in range(0, len(data), PIECE_BYTES):
            self._stream.write(data[place : place + PIECE_BYTES])
            self._stream.flush()
            if len(data) > PIECE_BYTES:
                time.sleep(PAUSE_SECONDS)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _slowly(path: str, rng: random.Random) -> Behavior:
    def answer(handler: Handler) -> bool:
        if not isinstance(handler.wfile, _Slow):
            handler.wfile = _Slow(handler.wfile)  # type: ignore[assignment]
        served = handler.server.owner.files[path]
        cut = rng.randrange(len(served.content)) if rng.random() < CUTS else -1
        return handler.serve(served, cut_after=cut)

    return answer


def serve(folder: Path, served: Served) -> Callable[[], None]:
    """Start the server of a folder; what ends it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(reader)
            server = Server()
            rng = random.Random(0)
            for path, content in served.files.items():
                server.put(path, content.replace(b"ADDRESS", server.url.encode()))
                server.always[path] = _slowly(path, rng)
            for (repo, file), content in served.hub.items():
                server.put_in_hub(repo, file, content)
                path = f"/cdn/{hashlib.sha256(content).hexdigest()}"
                server.always[path] = _slowly(path, rng)
            os.write(writer, server.url.encode())
            os.close(writer)
            while os.getppid() != 1:
                time.sleep(0.5)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:  # noqa: PTH123  (a pipe)
        (folder / URL_FILE).write_bytes(told.read())

    def stop() -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    return stop


def _impatient() -> None:
    """No pauses between attempts, which only take time."""
    from clipalign.download.web import RetryPolicy

    original = RetryPolicy.__init__
    quick = {"first_pause_seconds": 0.0, "connect_seconds": 5.0, "stall_seconds": 5.0}
    setattr(RetryPolicy, "__init__", lambda self, **given: original(self, **(quick | given)))  # noqa: B010


def _address(folder: Path) -> str:
    return (folder / URL_FILE).read_text()


def content(name: str, size: int) -> bytes:
    """Bytes that its name decides."""
    return random.Random(name).randbytes(size)


def _compare(folder: Path, whole: Path) -> list[str]:
    """Every file is what it is where nothing happened, but for notes of places and times."""
    found = []
    for path in sorted((whole / "home").rglob("*")):
        here = folder / path.relative_to(whole)
        if not path.is_file() or not here.is_file() or path.name == "listed.json.json":
            continue  # addresses, of a server whose port is another each time
        if path.suffix == ".json" and "/.clipalign/" in str(path):
            ours, theirs = (_note(one, base) for one, base in ((here, folder), (path, whole)))
            if ours != theirs:
                found.append(f"{path.relative_to(whole)} remembers something else")
        elif _read(here, folder) != _read(path, whole):
            found.append(f"{path.relative_to(whole)} is not what was served")
    return found


def _read(path: Path, folder: Path) -> bytes:
    data = path.read_bytes()
    return data.replace(_address(folder).encode(), b"SERVER") if path.suffix == ".json" else data


def _note(path: Path, folder: Path) -> Any:
    return json.loads(without_place(path.read_text(), folder).replace(_address(folder), "SERVER"))


def _part(pattern: str, size: int) -> Callable[[Path, int], float]:
    def progress(folder: Path, line: int) -> float:
        parts = [path.stat().st_size for path in folder.glob(pattern)]
        return min(1.0, max(parts, default=0) / size)

    return progress


def _into_hub(size: int) -> Scene:
    data = content("hub", size)

    def prepare(folder: Path) -> Callable[[], None]:
        def change() -> None:
            from clipalign.models.registry import ROWS, WeightSource

            _impatient()
            os.environ["HF_ENDPOINT"] = _address(folder)
            source = WeightSource(
                kind="hub", repo=REPO, file=FILE, sha256=hashlib.sha256(data).hexdigest(), size_bytes=size
            )
            row = ROWS["ViT-B-32"]
            ROWS["ViT-B-32"] = replace(row, weights=(source,))

        return change

    return _download(
        "weights into the Hub's cache",
        ("ViT-B-32",),
        Served(hub={(REPO, FILE): data}),
        prepare,
        _part("home/hub/*/blobs/*.part", size),
    )


def _into_clip(size: int, *, together: bool = False, checked: bool = True) -> Scene:
    data = content("clip", size)

    def prepare(folder: Path) -> Callable[[], None]:
        def change() -> None:
            from clipalign.models.registry import ROWS, WeightSource

            _impatient()
            sha256 = hashlib.sha256(data).hexdigest() if checked else ""
            source = WeightSource(kind="url", url=f"{_address(folder)}/models/a.pt", sha256=sha256, size_bytes=0)
            ROWS["ViT-B-32"] = replace(ROWS["ViT-B-32"], weights=(source,))

        return change

    kind = "weights of an address, two at once" if together else "weights of an address"
    scene = _download(
        kind if checked else f"{kind}, without a known hash",
        ("ViT-B-32",),
        Served(files={"/models/a.pt": data}),
        prepare,
        _part("home/.cache/clip/*.part", size),
    )
    return replace(scene, together=together)


def archives(members: int) -> dict[str, bytes]:
    """A zip and a tar.gz."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for number in range(members):
            archive.writestr(f"set/{number % 7}/{number}.bin", content(f"z{number}", 3000))
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive:
        for number in range(members):
            info = tarfile.TarInfo(f"other/{number}.bin")
            info.size = 2000
            archive.addfile(info, io.BytesIO(content(f"t{number}", 2000)))
    return {"/a.zip": zipped.getvalue(), "/b.tgz": tarred.getvalue()}


def _dataset(members: int, *, together: bool = False) -> Scene:
    files = archives(members)
    pictures = {f"/pictures/{number}.jpg": content(f"p{number}", 4000) for number in range(40)}

    def prepare(folder: Path) -> Callable[[], None]:
        def change() -> None:
            from clipalign.download.dataset_rows import DATASETS, DataFile, DatasetRow, Pictures

            _impatient()
            url = _address(folder)
            found = [
                DataFile("a.zip", url=f"{url}/a.zip", sha256=_sha256(files["/a.zip"]), gives=("set",)),
                DataFile("b.tgz", url=f"{url}/b.tgz", md5=_md5(files["/b.tgz"]), gives=("all/other",), into="all"),
                DataFile("listed.json", url=f"{url}/listed.json"),
                DataFile("needed.json", url=f"{url}/needed.json"),
            ]  # fmt: skip
            row = DatasetRow(
                "tiny", "a tiny one", "MIT", "free", "https://example.org/tiny", tuple(found),
                pictures=Pictures("listed.json", "needed.json", "pictures"),
            )  # fmt: skip
            DATASETS["tiny"] = row

        return change

    listed = {"images": [{"file_name": f"{n}.jpg", "coco_url": f"ADDRESS/pictures/{n}.jpg"} for n in range(40)]}
    needed = json.dumps([{"image_path": f"{number}.jpg"} for number in range(40)]).encode()
    served = Served(files={**files, **pictures, "/listed.json": json.dumps(listed).encode(), "/needed.json": needed})
    scene = _download("a data set, two at once" if together else "a data set", ("tiny",), served, prepare, None)
    return replace(scene, together=together)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _download(
    kind: str,
    names: tuple[str, ...],
    served: Served,
    prepare: Callable[[Path], Callable[[], None]],
    progress: Callable[[Path, int], float] | None,
) -> Scene:
    return Scene(
        kind=kind,
        group="downloads",
        commands=("download",),
        lay_out=lambda folder: None,
        lines=lambda folder: [["download", *names, "-q"]],
        compare=_compare,
        resume=(),
        stray=lambda name: bool(_HASH.fullmatch(name)) or is_cache_part(name),
        prepare=prepare,
        progress=progress or (lambda folder, line: 0.0),
        serves=lambda folder: serve(folder, served),
        cold=False,
    )


def download_scenes(scale: float = 1.0) -> list[Scene]:
    """Downloads of a second or so each at a scale of 1."""
    size, members = int(scale * (4 << 20)), max(20, int(scale * 300))
    return [
        _into_hub(size),
        _into_clip(size),
        _into_clip(size, checked=False),
        _into_clip(size, together=True),
        _dataset(members),
        _dataset(members, together=True),
    ]
