"""A picture from anywhere becomes RGB as people see it.

Opening is generous with formats (16 bits, palettes, transparency, CMYK, turned by EXIF) and strict with damage: what is
missing, empty, cut short, too large or no picture is an ``ImageUnreadable`` that names it. Nothing is ever half read.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from clipalign.errors import ImageUnreadable
from clipalign.pipeline.image_bytes import name_of, read_image
from clipalign.pipeline.image_kinds import FORMATS, describe_tiff, misread_tiff, not_read, why_unreadable

ImageSource: TypeAlias = str | bytes | Path | Image.Image
Values: TypeAlias = "numpy.ndarray[tuple[int, ...], numpy.dtype[Any]]"

MAX_PIXELS: Final = 100_000_000
"""Largest picture that is decoded, in pixels (300 MB as RGB). A small file can claim any size: a decompression bomb."""

LARGE_PIXELS: Final = 16_000_000
"""Larger pictures are decoded one at a time, whatever the number of threads: one of them takes up to 12 bytes a pixel
until it is RGB, which times the threads of a large machine would be more memory than it has."""

MAX_SCANNED_PIXELS: Final = 20_000_000_000
"""Most pixels that a JPEG may have decoded, scan by scan. A progressive one goes over all of them about ten times; one
of a few KB that says ten thousand times would take an hour."""

_WHITE: Final = (255, 255, 255)

_SCAN: Final = b"\xff\xda"

_PROGRAMS: Final = (b"%!PS", b"\xc5\xd0\xd3\xc6", b"\xd7\xcd\xc6\x9a\0\0")
"""How PostScript and Windows' metafiles begin: drawn by running them, with a program beside Python or the system."""

_DEEPEST: Final = 65535
"""Largest value of 16 bits."""

_DARKEST: Final = 16
"""Floats that reach beyond 1 and not this far are no 8-bit values: a picture of them would be all but black."""

_STRIPE_PIXELS: Final = 1 << 22
"""Deep grey is scaled so many pixels at a time, since each takes several floats meanwhile."""

_large_one = threading.Lock()

_ORIENTATION: Final = 0x0112
"""The EXIF entry; 1 is upright."""


def open_image(
    source: ImageSource,
    *,
    exif: bool = True,
    offline: bool = False,
    timeout: float | None = None,
    name: str | None = None,
) -> Image.Image:
    """A picture in RGB, 8 bits a channel.

    Args:
        source: a path, an http(s) address, ``-`` for the bytes on stdin, bytes, or a Pillow image (left as it was).
        exif: whether to turn the picture the way its EXIF orientation says.
        offline: whether addresses are refused.
        timeout: seconds for a picture at an address; None for 30.
        name: what errors call it; None for its own name.

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
            return _opened(source, content, name, exif=exif)
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


def _opened(source: ImageSource, content: bytes, name: str, *, exif: bool) -> Image.Image:
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
                f"{name} would have to be decoded {content.count(_SCAN)} times over",
                hint="save it once more, with another program",
                input=name,
            )
        if image.format == "PNG" and image.mode == "L" and content[24] in (2, 4) and "transparency" in image.info:
            image.info["transparency"] *= 255 // (2 ** content[24] - 1)  # Pillow scales the pixels alone
        return _decode(image, name, exif=exif)


class _Quiet:
    """How many threads are opening pictures, and what puts the process's warning filters back."""

    lock: Final = threading.Lock()
    count = 0
    filters = warnings.catch_warnings()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of damage it works around; what matters is raised.

    The filters belong to the process: the first thread in sets one, the last one out puts them back as they were.
    """
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
    """HEIC where its plugin is installed (``pip install clipalign[heic]``); Pillow itself reads AVIF."""
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
    """Pixels of the first frame, upright, in RGB."""
    width, height = image.size
    if isinstance(image, ImageFile.StubImageFile):
        raise not_read(name, str(image.format))
    if isinstance(image, TiffImagePlugin.TiffImageFile) and misread_tiff(image.tag_v2):
        raise not_read(name, describe_tiff(image.tag_v2))
    if width * height > MAX_PIXELS:
        raise _too_large(name, f" ({width} × {height} pixels)")
    if not width or not height:
        raise ImageUnreadable(f"{name} has no pixels ({width} × {height})", input=name)
    with _large_one if width * height > LARGE_PIXELS else nullcontext():
        image.load()
        return _to_rgb(_turn_upright(image) if exif else image, name)


def _turn_upright(image: Image.Image) -> Image.Image:
    """As EXIF says; a picture whose EXIF cannot be read stays as it is."""
    try:
        return image if image.getexif().get(_ORIENTATION, 1) == 1 else ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # as above
        return image


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """8 bits a channel, transparency over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _scale_deep(image, name).convert("RGB")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode in ("P", "PA"):
        _brighten_palette(image)
    if image.has_transparency_data:
        # Pillow converts grey with premultiplied alpha to nothing but grey with plain alpha.
        layered = image.convert("LA") if image.mode == "La" else image
        layered = layered if layered.mode == "RGBA" else layered.convert("RGBA")
        ground = Image.new("RGB", image.size, _WHITE)
        ground.paste(layered, mask=layered.getchannel("A"))
        return ground
    return image.convert("RGB")


def _brighten_palette(image: TiffImagePlugin.TiffImageFile) -> None:
    """Some programs write the 16-bit palettes of TIFF with 8-bit values, which Pillow takes for black."""
    colors = image.tag_v2.get(320, ())
    if colors and max(colors) < 256:
        third = len(colors) // 3
        image.putpalette([colors[channel * third + index] for index in range(third) for channel in range(3)])


def _scale_deep(image: Image.Image, name: str) -> Image.Image:
    """Grey with more than 8 bits, scaled to them; Pillow's own conversion would clip.

    16-bit values are taken as a share of 65535, the 12-bit ones of a TIFF of 4095. Floating ones are taken as they are
    in 0 to 1, as 8-bit ones in 0 to 255; any other range is stretched from minimum to maximum.

    Raises:
        ImageUnreadable: floats somewhat beyond 1, which are neither; unsigned 32 bits that Pillow holds as negative.
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
    return numpy.rint((values.astype(numpy.float64) - start) / reach * 255).astype(numpy.uint8)


def _stripes(image: Image.Image) -> Iterator[tuple[int, Values]]:
    """The values of deep grey from top to bottom, a few rows at a time, with the number of the first; finite ones."""
    rows = max(1, _STRIPE_PIXELS // image.width)
    for top in range(0, image.height, rows):
        values = numpy.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        if image.mode == "F":
            values = numpy.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        yield top, values


def thumbnail_of(image: Image.Image, side_px: int) -> bytes:
    """A small JPEG of an RGB picture, its longer side ``side_px`` pixels at most."""
    width, height = image.size
    shrink = min(1.0, side_px / max(width, height))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80, optimize=True)
    return stream.getvalue()
