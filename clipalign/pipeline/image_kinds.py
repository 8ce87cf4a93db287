"""What a file is that was not read as a picture: another kind of file, a kind of picture without a decoder, damage."""

from __future__ import annotations

import io
import re
from typing import Any, Final

from PIL import Image, TiffImagePlugin, features

from clipalign.errors import ImageUnreadable

FORMATS: Final = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF"

_RESAVE: Final = "save it as an 8-bit PNG or JPEG"

_FRAGMENTS: Final = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|II[*+]\0|MM\0[*+]|BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|....ftyp(avi|he|mi|ms)",
    re.DOTALL,
)
"""How the pictures begin that are always read, to tell a damaged one from no picture."""

_KINDS: Final[tuple[tuple[bytes, str], ...]] = (
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"v/1\x01", "OpenEXR"),
    (rb"#\?(RADIANCE|RGBE)", "Radiance HDR"),
    (rb"PF\s", "a color PFM"),
    (rb"P7\s", "PAM"),
    (rb".{128}DICM", "DICOM"),
    (rb"....ftypcrx |FUJIFILMCCD-RAW", "a camera's raw file"),
    (rb"8BPS\0\x02", "a PSB of Photoshop"),
)
_OTHERS: Final[tuple[tuple[bytes, str], ...]] = (
    (rb"\s*(\xef\xbb\xbf)?<", "it looks like a web page or SVG"),
    (rb"%PDF", "it looks like a PDF"),
    (rb"version https://git-lfs", "it stands for a file of Git LFS: git lfs pull"),
    (rb"....ftyp(?!avi|he|mi|ms)|\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]|RIFF....AVI ", "it looks like a video"),
    (rb"RIFF....WAVE|ID3|OggS|fLaC", "it looks like sound"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh", "it looks like an archive; unpack it"),
    (rb"\x93NUMPY", "it looks like an array of NumPy"),
    (rb"\x89HDF|GRIB|BUFR", "it looks like measurements"),
)
_LOSSLESS: Final = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)

_PHOTOMETRIC: Final = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_SAMPLES: Final = {1: "unsigned", 2: "signed", 3: "floating-point"}


def not_read(name: str, what: str, hint: str = _RESAVE) -> ImageUnreadable:
    """A picture, whole as far as one can tell, of a kind without a decoder."""
    return ImageUnreadable(f"{name} is a kind of picture that is not read: {what}", hint=hint, input=name)


def damaged(name: str, why: str) -> ImageUnreadable:
    """A picture that breaks off, or whose bytes make no sense."""
    return ImageUnreadable(
        f"{name} is damaged or cut short: {why}", hint="is the file complete? fetch it again", input=name
    )


def why_unreadable(content: bytes, name: str, said: str) -> ImageUnreadable:
    """What to say of a file that Pillow did not read; ``said`` is its own reason, empty where it knew no format."""
    if (variant := _variant(content, said)) is not None:
        return not_read(name, *variant)
    if _FRAGMENTS.match(content) or (said and not content.startswith(b"BM")):  # many texts begin so
        return damaged(name, said or "its header breaks off")
    others = (hint for pattern, hint in _OTHERS if re.match(pattern, content, re.DOTALL))
    return ImageUnreadable(
        f"{name} is not a picture", hint=f"{next(others, '')}; pictures are {FORMATS}".lstrip("; "), input=name
    )


def _variant(content: bytes, said: str) -> tuple[str, ...] | None:
    for pattern, what in _KINDS:
        if re.match(pattern, content, re.DOTALL):
            return (what,)
    brands = content[8:64] if content[4:8] == b"ftyp" else b""
    if b"avif" in brands or b"avis" in brands:
        return None if features.check("avif") else ("AVIF", "this Pillow has no decoder for it: pip install -U pillow")
    if re.search(rb"he[iv][cxms]|mif1|msf1", brands):
        return None if "HEIF" in Image.OPEN else ("HEIC", "it looks like HEIC: pip install 'clipalign[heic]'")
    if content.startswith(b"\xff\xd8"):
        return _jpeg(content)
    if content.startswith((b"II", b"MM")):
        known = said and "raw mode" not in said and "decoder error -2" not in said
        found = None if known else _tiff(content)
        return None if found is None else (found,)
    if re.search("unsupported|not supported|not available|cannot find loader|raw mode", said, re.IGNORECASE):
        return (said,)
    return None


def _jpeg(content: bytes) -> tuple[str, ...] | None:
    """By the header of its frame."""
    place = 2
    while content[place : place + 1] == b"\xff" and place + 4 < len(content):
        marker, precision = content[place + 1], content[place + 4]
        if marker in _LOSSLESS or marker == 0xF7:
            return ("a lossless JPEG",)
        if marker in (0xC0, 0xC1, 0xC2):
            return None if precision == 8 else (f"a JPEG of {precision} bits",)
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return None


def _tiff(content: bytes) -> str | None:
    """What a TIFF holds whose pixels are all there; None for one that breaks off."""
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if 43 in content[2:4] else 8])
        stream = io.BytesIO(content)
        stream.seek(directory.next)
        directory.load(stream)
        strips = 273 in directory  # else tiles
        starts, counts = directory[273 if strips else 324], directory[279 if strips else 325]
        if max(start + count for start, count in zip(starts, counts, strict=True)) > len(content):
            return None
        return describe_tiff(directory)
    except Exception:  # nearly anything, on damaged bytes
        return None


def describe_tiff(directory: Any) -> str:
    """Samples, colors and compression, for a message."""
    bits = max(directory.get(258, (1,)))
    kind = _SAMPLES.get(max(directory.get(339, (1,))), "unknown")
    photometric = directory.get(262)
    colors = _PHOTOMETRIC.get(photometric, f"photometric {photometric}")
    packed = directory.get(259, 1)
    return (
        f"a TIFF of {colors}, {directory.get(277, 1)} × {bits}-bit {kind} samples"
        + (", plane by plane" if directory.get(284, 1) == 2 else "")
        + (f", compression {packed}" if packed != 1 else "")
        + (f", predictor {directory[317]}" if directory.get(317, 1) != 1 else "")
    )


def misread_tiff(directory: Any) -> bool:
    """Whether Pillow would open it and give other colors without a word."""
    bits, kinds = directory.get(258, (1,)), directory.get(339, (1,))
    if 2 in kinds and max(bits) <= 16:
        return True  # as if unsigned, or half as bright
    if directory.get(317, 1) != 1 and directory.get(259, 1) in (1, 32773):
        return True  # the differences of pixels, which only decoders of other compressions add up
    if directory.get(259, 1) != 1:
        return False
    subsampled = directory.get(262) == 6 and tuple(directory.get(530, (1, 1))) != (1, 1)
    # Pillow takes planes of 16 bits for bytes.
    return subsampled or (directory.get(284, 1) == 2 and len(bits) > 1 and max(bits) > 8)
