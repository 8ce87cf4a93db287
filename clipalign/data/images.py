"""A picture from anywhere becomes RGB as people see it.

Many formats are accepted (16 bits, palettes, transparency, CMYK, EXIF orientation). What is missing, empty, truncated,
too large or no picture is an ``ImageUnreadable`` that names it and says why: another kind of file, no decoder, damage.
No picture is decoded in part.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError, features

from clipalign.data.sources import name_of, read_image
from clipalign.errors import ImageUnreadable

FORMATS: Final = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF"

_RESAVE: Final = "save it as an 8-bit PNG or JPEG"

_FRAGMENTS: Final = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|II[*+]\0|MM\0[*+]|BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|....ftyp(avi|he|mi|ms)",
    re.DOTALL,
)
"""First bytes of pictures that are always supported, to recognize a damaged one."""

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

_PHOTOMETRIC: Final = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_SAMPLES: Final = {1: "unsigned", 2: "signed", 3: "floating-point"}


def not_read(name: str, what: str, hint: str = _RESAVE) -> ImageUnreadable:
    return ImageUnreadable(f"{name} is a kind of picture that is not read: {what}", hint=hint, input=name)


def damaged(name: str, why: str) -> ImageUnreadable:
    return ImageUnreadable(
        f"{name} is damaged or cut short: {why}", hint="is the file complete? fetch it again", input=name
    )


def why_unreadable(content: bytes, name: str, said: str) -> ImageUnreadable:
    """Return the error for a file that Pillow did not read; ``said`` is its reason, empty for an unknown format."""
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
    offset = 2
    while content[offset : offset + 1] == b"\xff" and offset + 4 < len(content):
        marker, precision = content[offset + 1], content[offset + 4]
        if marker in _LOSSLESS or marker == 0xF7:
            return ("a lossless JPEG",)
        if marker in (0xC0, 0xC1, 0xC2):
            return None if precision == 8 else (f"a JPEG of {precision} bits",)
        offset += 2 + int.from_bytes(content[offset + 2 : offset + 4])
    return None


def _tiff(content: bytes) -> str | None:
    """Describe a TIFF whose pixels are complete; None for a truncated one."""
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


def misread_tiff(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return whether Pillow would open it with wrong colors."""
    directory: Any = image.tag_v2
    bits, kinds = directory.get(258, (1,)), directory.get(339, (1,))
    if 2 in kinds and max(bits) <= 16:
        return True  # as if unsigned, or half as bright
    if directory.get(317, 1) != 1 and directory.get(259, 1) in (1, 32773):
        return True  # the differences of pixels, which only decoders of other compressions add up
    if directory.get(259, 1) != 1:
        return False
    # Pillow before 13 takes YCbCr for RGB with a fourth byte; none knows that its colors may be fewer.
    is_misread = directory.get(262) == 6 and (image.mode == "RGB" or tuple(directory.get(530, (1, 1))) != (1, 1))
    # Pillow takes planes of 16 bits for bytes.
    return is_misread or (directory.get(284, 1) == 2 and len(bits) > 1 and max(bits) > 8)


ImageSource: TypeAlias = str | bytes | Path | Image.Image
Values: TypeAlias = "numpy.ndarray[tuple[int, ...], numpy.dtype[Any]]"

MAX_PIXELS: Final = 100_000_000
"""Largest picture decoded, in pixels (300 MB as RGB). A small file can claim any size: a decompression bomb."""

LARGE_PIXELS: Final = 16_000_000
"""Larger pictures are decoded one at a time, as each needs at most 12 bytes a pixel until it is RGB."""

MAX_SCANNED_PIXELS: Final = 20_000_000_000
"""Pixels of a JPEG over all its scans. A progressive one has about ten; a few KB could claim ten thousand."""

_WHITE: Final = (255, 255, 255)

_SCAN: Final = b"\xff\xda"

_PROGRAMS: Final = (b"%!PS", b"\xc5\xd0\xd3\xc6", b"\xd7\xcd\xc6\x9a\0\0")
"""First bytes of PostScript and Windows metafiles, which Pillow draws by running another program."""

_DEEPEST: Final = 65535

_DARKEST: Final = 16
"""Floats with a maximum from 1 to this are no 8-bit values: the picture would be nearly black."""

_STRIPE_PIXELS: Final = 1 << 22
"""Pixels scaled at a time, to save memory."""

_large_one = threading.Lock()

_ORIENTATION: Final = 0x0112


def open_image(
    source: ImageSource,
    *,
    exif: bool = True,
    offline: bool = False,
    timeout: float | None = None,
    name: str | None = None,
    shorter_px: int | None = None,
) -> Image.Image:
    """Return a picture in RGB, 8 bits a channel.

    Args:
        source: a path, an http(s) address, ``-`` for the bytes on stdin, bytes, or a Pillow image (left unchanged).
        exif: whether to apply the EXIF orientation.
        timeout: seconds for a picture at an address; None for 30.
        name: for errors; None for its own name.
        shorter_px: decode a JPEG at 1/2, 1/4 or 1/8 of its size, the smallest that leaves its shorter side this many
            pixels; None for in full.

    Raises:
        ImageUnreadable: with the name of the source, why, and what to try.
    """
    content = b""
    if isinstance(source, Image.Image):
        name = name or str(getattr(source, "filename", "") or "the image")
    else:
        name = name or name_of(source)
        content = read_image(source, offline=offline, timeout=timeout, name=name)
    with _without_warnings():
        try:
            return _opened(source, content, name, exif=exif, shorter_px=shorter_px)
        except UnidentifiedImageError as error:
            raise why_unreadable(content, name, "") from error
        except Image.DecompressionBombError as error:
            raise _too_large(name) from error
        except MemoryError as error:
            raise ImageUnreadable(
                f"{name} needs more memory than there is", hint="make it smaller first", input=name
            ) from error
        except ImageUnreadable:
            raise
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes, assertions included
            raise why_unreadable(content, name, str(error).partition("\n")[0] or type(error).__name__) from error


def _opened(source: ImageSource, content: bytes, name: str, *, exif: bool, shorter_px: int | None) -> Image.Image:
    if isinstance(source, Image.Image):
        return _decode(source, name, exif=exif)
    if content.startswith(_PROGRAMS) or content[40:44] == b" EMF":
        raise ImageUnreadable(
            f"{name} is not a picture but a program that draws one", hint=f"pictures are {FORMATS}", input=name
        )
    _register_heif()
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        if image.format in ("JPEG", "MPO") and content.count(_SCAN) * width * height > MAX_SCANNED_PIXELS:
            raise ImageUnreadable(
                f"{name} has {content.count(_SCAN)} JPEG scans, too many to decode",
                hint="save it once more, with another program",
                input=name,
            )
        if image.format == "PNG" and image.mode == "L" and content[24] in (2, 4) and "transparency" in image.info:
            image.info["transparency"] *= 255 // (2 ** content[24] - 1)  # Pillow scales the pixels alone
        if shorter_px is not None and width * height <= MAX_PIXELS:
            image.draft(None, (shorter_px, shorter_px))  # does nothing to formats that cannot
        return _decode(image, name, exif=exif)


class _Quiet:
    lock: Final = threading.Lock()
    count = 0
    filters = warnings.catch_warnings()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence Pillow's warnings of damage; the first thread sets the process's filter, the last one restores it."""
    with _Quiet.lock:
        _Quiet.count += 1
        if _Quiet.count == 1:
            _Quiet.filters = warnings.catch_warnings()
            _Quiet.filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.count -= 1
            if _Quiet.count == 0:
                _Quiet.filters.__exit__(None, None, None)


def _register_heif() -> None:
    """Support HEIC if its plugin is installed (``pip install clipalign[heic]``); Pillow itself reads AVIF."""
    if "HEIF" in Image.OPEN:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def _too_large(name: str, size: str = "") -> ImageUnreadable:
    return ImageUnreadable(
        f"{name} is too large{size}; at most {MAX_PIXELS // 1_000_000} million pixels are decoded",
        hint="make it smaller first",
        input=name,
    )


def _decode(image: Image.Image, name: str, *, exif: bool) -> Image.Image:
    width, height = image.size
    if isinstance(image, ImageFile.StubImageFile):
        raise not_read(name, str(image.format))
    if isinstance(image, TiffImagePlugin.TiffImageFile) and misread_tiff(image):
        raise not_read(name, describe_tiff(image.tag_v2))
    if width * height > MAX_PIXELS:
        raise _too_large(name, f" ({width} × {height} pixels)")
    if not width or not height:
        raise ImageUnreadable(f"{name} has no pixels ({width} × {height})", input=name)
    with _large_one if width * height > LARGE_PIXELS else nullcontext():
        image.load()
        return _to_rgb(_turn_upright(image) if exif else image, name)


def _turn_upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; with unreadable EXIF the picture is unchanged."""
    try:
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image
        turned: Image.Image | None = ImageOps.exif_transpose(image)
        return turned or image  # never None, which the types of Pillow 11 allow
    except MemoryError:
        raise
    except Exception:  # as above
        return image


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert to 8 bits a channel, transparency over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _scale_deep(image, name).convert("RGB")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode in ("P", "PA"):
        _brighten_palette(image)
    if image.has_transparency_data:
        # Pillow converts gray with premultiplied alpha to nothing but gray with plain alpha.
        layered = image.convert("LA") if image.mode == "La" else image
        layered = layered if layered.mode == "RGBA" else layered.convert("RGBA")
        ground = Image.new("RGB", image.size, _WHITE)
        ground.paste(layered, mask=layered.getchannel("A"))
        return ground
    return image.convert("RGB")


def _brighten_palette(image: TiffImagePlugin.TiffImageFile) -> None:
    """Fix 16-bit TIFF palettes with 8-bit values, which some programs write and Pillow reads as black."""
    colors = image.tag_v2.get(320, ())
    if colors and max(colors) < 256:
        third = len(colors) // 3
        image.putpalette([colors[channel * third + index] for index in range(third) for channel in range(3)])


def _scale_deep(image: Image.Image, name: str) -> Image.Image:
    """Scale gray with more than 8 bits; Pillow's own conversion would clip.

    16-bit values are divided by 65535, a TIFF's 12-bit ones by 4095. Floats in 0 to 1, or in 0 to 255, are used as they
    are; any other range is stretched from minimum to maximum. Refused: floats just beyond 1, and unsigned 32 bits that
    Pillow holds as negative.
    """
    directory = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    ends = [(float(values.min()), float(values.max())) for _, values in _stripes(image)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if image.mode == "F" and low >= 0 and 1 < high < _DARKEST:
        raise not_read(name, f"floating-point samples up to {high:.4g}, neither 0 to 1 nor 0 to 255")
    if directory and image.mode == "I" and low < 0 and 2 not in directory.get(339, (1,)):
        raise not_read(name, describe_tiff(directory))
    is_deep = image.mode != "F" and low >= 0 and high <= _DEEPEST
    start, reach = low, (high - low) or 1.0
    if is_deep:
        start, reach = 0.0, 4095.0 if directory.get(258) == (12,) else float(_DEEPEST)
    elif image.mode == "F" and low >= 0 and high <= 255:
        start, reach = 0.0, 1.0 if high <= 1 else 255.0
    scaled = Image.new("L", image.size)
    # Only there: of a narrow range the table would hold numbers that no byte has.
    bytes_of = _to_bytes(numpy.arange(int(reach) + 1), start, reach) if is_deep else None
    clear = image.info.get("transparency")
    for top, values in _stripes(image):
        found = _to_bytes(values, start, reach) if bytes_of is None else bytes_of[values]
        if directory.get(262) == 0:  # white is 0, which Pillow minds up to 8 bits
            found = 255 - found
        if isinstance(clear, int):
            found = numpy.where(values == clear, 255, found).astype(numpy.uint8)
        scaled.paste(Image.fromarray(found), (0, top))
    return scaled


def _to_bytes(values: Values, start: float, reach: float) -> Values:
    found: Values = numpy.rint((values.astype(numpy.float64) - start) / reach * 255).astype(numpy.uint8)
    return found


def _stripes(image: Image.Image) -> Iterator[tuple[int, Values]]:
    """Yield the finite values of deep gray from top to bottom, a few rows at a time, with the number of the first."""
    rows = max(1, _STRIPE_PIXELS // image.width)
    for top in range(0, image.height, rows):
        values = numpy.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        if image.mode == "F":
            values = numpy.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        yield top, values


def thumbnail_of(image: Image.Image, side_px: int) -> bytes:
    """Return a JPEG of an RGB picture, its longer side at most ``side_px`` pixels."""
    width, height = image.size
    shrink = min(1.0, side_px / max(width, height))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80, optimize=True)
    return stream.getvalue()
