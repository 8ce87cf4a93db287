"""ImageNet's validation set (Russakovsky et al., 2015), and sets of its classes in folders.

Three layouts of the validation set: folders by class (``val/n01440764/….JPEG``); the pictures beside
``ILSVRC2012_devkit_t12``; or the downloaded archives ``ILSVRC2012_img_val.tar`` and ``ILSVRC2012_devkit_t12.tar.gz``,
which are not unpacked. The devkit numbers classes in its own order, listed in its ``meta.mat`` (read by scipy).
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from clipalign.data.tars import BoundedMember, members_of
from clipalign.errors import InputUnreadable, need
from clipalign.evaluation.dataset_files import PICTURE_SUFFIXES, FileInTar, files_in, text_lines
from clipalign.evaluation.tasks.class_texts import read_task
from clipalign.evaluation.tasks.classes import ClassBenchmark, FoundPicture

if TYPE_CHECKING:
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.evaluation.tasks.class_evaluator import ClassTask

DEVKIT: Final = "ILSVRC2012_devkit_t12"
ARCHIVE: Final = "ILSVRC2012_img_val.tar"
GROUND_TRUTH: Final = f"{DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt"
META: Final = f"{DEVKIT}/data/meta.mat"

DAMAGED_TAR: Final = (OSError, EOFError, zlib.error, tarfile.TarError)

_META_READER: Final = """
import io, json, sys
from scipy.io import loadmat

try:  # what is packed may unfold without end
    import resource

    with open("/proc/self/statm") as pages:
        used = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000,) * 2)
except (ImportError, OSError, ValueError):  # another system
    pass
rows = loadmat(io.BytesIO(sys.stdin.buffer.read()), squeeze_me=True)["synsets"]
print(json.dumps([(int(r["ILSVRC2012_ID"]), str(r["WNID"])) for r in rows if not int(r["num_children"])]))
"""
"""Runs in a process of its own, since scipy may crash on a damaged file."""

_META_SECONDS: Final = 120
_DEVKIT_BYTES: Final = 10_000_000  # bytes of the largest file accepted; real ones have some hundred thousand

_NUMBERED: Final = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def synsets(subset: str = "imagenet") -> tuple[str, ...]:
    """WordNet identifiers in the order of the 1,000 labels, or of the 200 of ``imagenet_a`` or ``imagenet_r``."""
    # A plain list; timm comes with open_clip. It is found, not imported: that takes seconds.
    spec = importlib.util.find_spec("timm")
    folder = Path(spec.origin or "").parent if spec else Path()
    return tuple(text_lines(folder / "data" / "_info" / f"{subset}_synsets.txt"))


def imagenet_names() -> tuple[str, ...]:
    """Names of the 1,000 classes, as open_clip has them."""
    from clipalign.models.load import import_open_clip

    return tuple(import_open_clip().IMAGENET_CLASSNAMES)


class ClassFolders(ClassBenchmark):
    """A folder a class, named by WordNet identifier or by label; other folders are ignored.

    Attributes:
        markers: the folder of the class folders, or one of them.
        subset: list of the classes that count: all, or the 200 of ImageNet-A or -R.
        numbered: whether folders are named by label, from 0 on.
    """

    subset: str = "imagenet"
    numbered: bool = False

    def class_names(self) -> tuple[str, ...]:
        every = dict(zip(synsets(), imagenet_names(), strict=True))
        return tuple(every[synset] for synset in synsets(self.subset))

    def task(self, settings: EvalSettings) -> ClassTask:
        """Classes of the subset; the order of all 1,000 identifies those that a file names differently."""
        order = {synset: index for index, synset in enumerate(synsets())}
        indices = [order[synset] for synset in synsets(self.subset)]
        return read_task(self.name, self.folder, imagenet_names(), settings, indices=indices)

    def _folders(self) -> tuple[str, ...]:
        names = synsets(self.subset)
        return tuple(map(str, range(len(names)))) if self.numbered else names

    def found_pictures(self) -> Iterator[FoundPicture]:
        yield from self._in(self.marker.parent if self.marker.name in self._folders() else self.marker)

    def _in(self, top: Path) -> Iterator[FoundPicture]:
        for label, folder in enumerate(self._folders()):
            for file in sorted((top / folder).glob("*")):
                if file.suffix.lower() in PICTURE_SUFFIXES:
                    yield FoundPicture(f"{folder}/{file.name}", label, file)


class ImageNet(ClassFolders):
    """The validation set in any of its layouts."""

    def found_pictures(self) -> Iterator[FoundPicture]:
        marker, folders = self.marker, self._folders()
        top = marker if marker.is_dir() and marker.name not in folders else marker.parent
        if any((top / folder).is_dir() for folder in folders):
            yield from self._in(top)
            return
        labels = self._numbered_labels()
        flat = ((file.name, file) for file in files_in(top))
        for name, image in _in_archive(marker) if marker.name == ARCHIVE else flat:
            number = _NUMBERED.fullmatch(name)
            if number is not None:
                yield FoundPicture(name, labels[int(number[1])], image)

    def _numbered_labels(self) -> dict[int, int]:
        order = {synset: label for label, synset in enumerate(synsets())}
        content = self._devkit(META)
        try:
            by_devkit = {number: order[synset] for number, synset in _read_meta(content)}
        except (ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
            raise _damaged(f"{META} in {self.folder} is not the devkit's", self.folder) from error
        numbers = self._devkit(GROUND_TRUTH).split()
        return {picture: by_devkit[int(number)] for picture, number in enumerate(numbers, 1)}

    def _devkit(self, name: str) -> bytes:
        for top in (self.folder, self.marker.parent, self.marker.parent.parent):
            if (top / name).is_file():
                return _bounded((top / name).open("rb"), top / name)
            archive = top / f"{DEVKIT}.tar.gz"
            if archive.is_file():
                try:
                    with tarfile.open(archive, tarinfo=BoundedMember) as tar:
                        for member in members_of(tar):
                            if member.name.removeprefix("./") == name and (file := tar.extractfile(member)):
                                return _bounded(file, archive)
                        raise KeyError(f"there is no {name} in it")
                except (*DAMAGED_TAR, KeyError, ValueError) as error:
                    raise _damaged(f"{archive} cannot be read: {error}", archive) from error
        raise InputUnreadable(
            f"the labels of ImageNet's pictures are not in {self.folder}",
            hint=f"put {DEVKIT}.tar.gz beside them",
            input=str(self.folder),
        )


def _read_meta(content: bytes) -> list[tuple[int, str]]:
    """Number and WordNet identifier of every class in the devkit's ``meta.mat``; ValueError if it is damaged."""
    need("scipy.io", extra="eval", what="reading ImageNet's devkit")
    reader = [sys.executable, "-P", "-c", _META_READER]
    done = subprocess.run(reader, input=content, capture_output=True, check=True, timeout=_META_SECONDS)
    return [(int(number), str(synset)) for number, synset in json.loads(done.stdout)]


def _in_archive(archive: Path) -> Iterator[tuple[str, FileInTar]]:
    try:
        with tarfile.open(archive, "r:", tarinfo=BoundedMember) as tar:
            for member in members_of(tar):
                if member.isfile():
                    name = Path(member.name).name
                    yield name, FileInTar(archive, name, member.offset_data, member.size)
    except (*DAMAGED_TAR, ValueError) as error:
        raise _damaged(f"{archive} cannot be read: {error}", archive) from error


def _bounded(file: IO[bytes], path: Path) -> bytes:
    with file:
        content = file.read(_DEVKIT_BYTES + 1)
    if len(content) > _DEVKIT_BYTES:
        raise _damaged(f"a file of the devkit in {path} has over {_DEVKIT_BYTES:,} bytes", path)
    return content


def _damaged(what: str, path: Path) -> InputUnreadable:
    return InputUnreadable(what, hint="is the data set complete? fetch it again", input=str(path))
