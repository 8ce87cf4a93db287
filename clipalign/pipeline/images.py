"""A picture from anywhere becomes RGB as people see it, then the tensor a model wants.

Opening is generous with formats (16 bits, palettes, transparency, CMYK, turned by EXIF) and strict with damage: what is
missing, empty, cut short, too large or no picture is an ``ImageUnreadable`` that names it. Nothing is ever half read.
Preparing follows open_clip's evaluation transform bit for bit, by the model's own numbers, with Pillow and torch alone.
"""

from __future__ import annotations

import io
import struct
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

import numpy
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from clipalign.errors import ImageUnreadable

if TYPE_CHECKING:
    from clipalign.pipeline.loaded import LoadedModel

ImageSource: TypeAlias = str | bytes | Path | Image.Image

STDIN: Final = "-"

MAX_PIXELS: Final = 100_000_000
"""Largest picture that is decoded, in pixels (300 MB as RGB). A small file can claim any size: a decompression bomb."""

MAX_DOWNLOAD_BYTES: Final = 100_000_000
"""Largest file fetched from an address."""

TIMEOUT_SECONDS: Final = 20.0
"""To connect to an address, and between two pieces from it."""

MAX_FILE_BYTES: Final = 1_000_000_000
"""Most that is read of a file, a pipe or stdin, some of which never end."""

_PIECE_BYTES: Final = 1 << 16

_WHITE: Final = (255, 255, 255)

_SIGNATURES: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
"""How pictures begin, to tell a damaged one from no picture."""

_OTHER_ADDRESSES: Final = ("ftp://", "ftps://", "sftp://", "file://", "s3://", "gs://")

_DAMAGE: Final = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(EOFError, ArithmeticError, MemoryError, RuntimeError, struct.error),
)
"""Pillow's decoders raise nearly anything on damaged bytes."""

_ORIENTATION: Final = 0x0112
"""The EXIF entry; 1 is upright."""

_FORMATS: Final = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF"


def open_image(
    source: ImageSource, *, exif: bool = True, offline: bool = False, name: str | None = None
) -> Image.Image:
    """A picture in RGB, 8 bits a channel.

    Args:
        source: a path, an http(s) address, ``-`` for the bytes on stdin, bytes, or a Pillow image (left as it was).
        exif: whether to turn the picture the way its EXIF orientation says.
        offline: whether addresses are refused.
        name: what errors call it; None for its own name.

    Raises:
        ImageUnreadable: with the name of the source, why, and what to try.
    """
    name = name or _name(source)
    content = b"" if isinstance(source, Image.Image) else _content(source, name, offline=offline)
    try:
        with _without_warnings():
            return _opened(source, content, name, exif=exif)
    except UnidentifiedImageError as error:
        if content.startswith(_SIGNATURES):
            raise _damaged(name, "its header breaks off") from error
        raise ImageUnreadable(f"{name} is not a picture", hint=_what_it_is(content), input=name) from error
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except _DAMAGE as error:
        raise _damaged(name, str(error).partition("\n")[0] or type(error).__name__) from error


def read_image(source: str | bytes | Path, *, offline: bool = False, name: str | None = None) -> bytes:
    """The bytes of a picture, for :func:`open_image` to decode later.

    Args:
        source: a path, an http(s) address, ``-`` for stdin, or bytes, which are returned as they are.
        offline: whether addresses are refused.
        name: what errors call it; None for its own name.

    Raises:
        ImageUnreadable: it is not there, empty, too large, or may not be fetched.
    """
    return _content(source, name or _name(source), offline=offline)


def _opened(source: ImageSource, content: bytes, name: str, *, exif: bool) -> Image.Image:
    if isinstance(source, Image.Image):
        return _decode(source, name, exif=exif)
    _register_heif()
    with Image.open(io.BytesIO(content)) as image:
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


def is_file_name(source: str) -> bool:
    """Whether ``source`` names a file: it is no http(s) address and not ``-`` for stdin."""
    return source != STDIN and not source.lower().startswith(("http://", "https://"))


def _name(source: ImageSource) -> str:
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "the image")
    if isinstance(source, bytes):
        return "the image"
    return "standard input" if str(source) == STDIN else str(source)


def _content(source: str | bytes | Path, name: str, *, offline: bool) -> bytes:
    content = _read(source, name, offline=offline)
    if not content:
        raise ImageUnreadable(f"{name} is empty", hint="is the file complete?", input=name)
    return content


def _read(source: str | bytes | Path, name: str, *, offline: bool) -> bytes:
    if isinstance(source, bytes):
        return source
    if str(source) == STDIN:
        return _limited(sys.stdin.buffer, name)
    if isinstance(source, str) and not is_file_name(source):
        return _fetch(source, offline=offline)
    if not str(source).strip():
        raise ImageUnreadable("the image name is empty", hint="give a path or an http(s) address")
    if isinstance(source, str) and source.lower().startswith(_OTHER_ADDRESSES):
        raise ImageUnreadable(f"only http(s) addresses are fetched, not {source}", hint="give a path", input=name)
    path = Path(source)
    try:
        with path.expanduser().open("rb") as stream:
            return _limited(stream, name)
    except FileNotFoundError as error:
        raise ImageUnreadable(f"there is no file {name}", hint=_where(path), input=name) from error
    except IsADirectoryError as error:
        raise ImageUnreadable(f"{name} is a folder, not a picture", hint="name a file in it", input=name) from error
    except PermissionError as error:
        folder = path.is_dir()  # how some systems put it
        why = "is a folder, not a picture" if folder else "may not be read"
        raise ImageUnreadable(
            f"{name} {why}", hint="name a file in it" if folder else "check its rights", input=name
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ImageUnreadable(f"{name!r} cannot be read: {why}", hint="check the path", input=name) from error


def _limited(stream: BinaryIO, name: str) -> bytes:
    content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ImageUnreadable(
            f"{name} is too large; at most {MAX_FILE_BYTES // 1_000_000} MB are read",
            hint="make it smaller first",
            input=name,
        )
    return content


def _where(path: Path) -> str:
    parent = path.parent
    return f"looked in {parent.absolute()}" if parent.is_dir() else f"there is no folder {parent}"


def _fetch(address: str, *, offline: bool) -> bytes:
    """The bytes at an http(s) address, within the limits of size and time."""
    if offline:
        raise ImageUnreadable(f"{address} is not fetched while offline", hint="leave out --offline", input=address)
    import requests

    from clipalign.version import __version__

    try:
        with requests.get(
            address, stream=True, timeout=TIMEOUT_SECONDS, headers={"User-Agent": f"clipalign/{__version__}"}
        ) as reply:
            if not reply.ok:
                raise ImageUnreadable(
                    f"{address} answered {reply.status_code} {reply.reason}", hint="check the address", input=address
                )
            pieces: list[bytes] = []
            size = 0
            for piece in reply.iter_content(_PIECE_BYTES):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_DOWNLOAD_BYTES:
                    raise ImageUnreadable(
                        f"{address} is larger than {MAX_DOWNLOAD_BYTES // 1_000_000} MB", input=address
                    )
            return b"".join(pieces)
    except requests.Timeout as error:
        raise ImageUnreadable(
            f"{address} did not answer within {TIMEOUT_SECONDS:.0f} seconds", hint="try again later", input=address
        ) from error
    except requests.RequestException as error:
        raise ImageUnreadable(
            f"{address} cannot be fetched: {type(error).__name__}",
            hint="check the address and the network",
            input=address,
        ) from error


def _register_heif() -> None:
    """HEIC where its plugin is installed (``pip install clipalign[heic]``); Pillow itself reads AVIF."""
    if "HEIF" in Image.OPEN:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def _what_it_is(content: bytes) -> str:
    if content[4:8] == b"ftyp" and content[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return "it looks like HEIC: pip install 'clipalign[heic]'"
    if content.lstrip()[:1] == b"<":
        return "it looks like a web page or SVG; pictures are " + _FORMATS
    if content.startswith(b"%PDF"):
        return "it looks like a PDF; pictures are " + _FORMATS
    return "pictures are " + _FORMATS


def _too_large(name: str, size: str = "") -> ImageUnreadable:
    return ImageUnreadable(
        f"{name} is too large{size}; at most {MAX_PIXELS // 1_000_000} million pixels are decoded",
        hint="make it smaller first",
        input=name,
    )


def _damaged(name: str, why: str) -> ImageUnreadable:
    return ImageUnreadable(
        f"{name} is damaged or cut short: {why}", hint="is the file complete? fetch it again", input=name
    )


def _decode(image: Image.Image, name: str, *, exif: bool) -> Image.Image:
    """Pixels of the first frame, upright, in RGB."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(name, f" ({width} × {height} pixels)")
    if not width or not height:
        raise ImageUnreadable(f"{name} has no pixels ({width} × {height})", input=name)
    image.load()
    return _to_rgb(_turn_upright(image) if exif else image)


def _turn_upright(image: Image.Image) -> Image.Image:
    """As EXIF says; a picture whose EXIF cannot be read stays as it is."""
    try:
        return image if image.getexif().get(_ORIENTATION, 1) == 1 else ImageOps.exif_transpose(image)
    except _DAMAGE:
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """8 bits a channel, transparency over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _scale_deep(image).convert("RGB")
    if image.has_transparency_data:
        # Pillow converts grey with premultiplied alpha to nothing but grey with plain alpha.
        layered = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        ground = Image.new("RGB", image.size, _WHITE)
        ground.paste(layered, mask=layered.getchannel("A"))
        return ground
    return image.convert("RGB")


def _scale_deep(image: Image.Image) -> Image.Image:
    """Grey with more than 8 bits, scaled to them; Pillow's own conversion would clip.

    16-bit values are taken as a share of 65535. Floating ones are taken as they are in 0 to 1, as 8-bit ones in 0 to
    255; any other range is stretched from minimum to maximum.
    """
    values = numpy.asarray(image, dtype=numpy.float64)
    values = numpy.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high <= 65535:
        scaled = values / 65535
    elif image.mode == "F" and low >= 0 and high <= 1:
        scaled = values
    elif image.mode == "F" and low >= 0 and high <= 255:
        scaled = values / 255
    else:
        scaled = (values - low) / ((high - low) or 1.0)
    return Image.fromarray(numpy.rint(scaled * 255).astype(numpy.uint8))


def to_tensor(image: Image.Image, loaded: LoadedModel) -> Tensor:
    """The input of ``loaded`` for one picture (3, S, S), fp32 on the CPU: open_clip's evaluation transform.

    Args:
        image: RGB.
        loaded: its ``image_size``, ``mean``, ``std``, ``interpolation``, ``resize_mode`` and ``fill_color`` count.
    """
    square = to_square(image, loaded)
    # Not with torch, which would start threads of its own in every thread that prepares pictures.
    values = numpy.array(square.transpose(2, 0, 1), dtype=numpy.float32, order="C")  # (3, S, S)
    mean, std = (numpy.array(numbers, dtype=numpy.float32).reshape(3, 1, 1) for numbers in (loaded.mean, loaded.std))
    values /= numpy.float32(255)
    values -= mean
    values /= std
    return torch.from_numpy(values)


def to_square(image: Image.Image, loaded: LoadedModel) -> numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint8]]:
    """The first half of :func:`to_tensor`: an RGB picture as the square the model sees (S, S, 3), before any number is
    touched; a quarter of the memory.
    """
    side = loaded.image_size
    bicubic = loaded.interpolation != "bilinear"
    filter_ = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    width, height = image.size
    if loaded.resize_mode == "squash":
        resized = _resize(image, side, side, filter_)
    elif loaded.resize_mode == "longest":
        ratio = max(height / side, width / side)
        resized = _resize(image, max(1, round(width / ratio)), max(1, round(height / ratio)), filter_)
    else:
        # The longer side is cut, not rounded, to whole pixels.
        short = min(width, height)
        resized = _resize(image, int(side * width / short), int(side * height / short), filter_)
    return numpy.asarray(_centre(resized, side, loaded.fill_color))


def to_values(squares: Tensor, loaded: LoadedModel) -> Tensor:
    """The second half of :func:`to_tensor`, for many and on any device: bytes (B, S, S, 3) to fp32 (B, 3, S, S)."""
    values = squares.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    mean, std = (torch.tensor(numbers, device=squares.device).view(3, 1, 1) for numbers in (loaded.mean, loaded.std))
    return values.div_(255).sub_(mean).div_(std)


def thumbnail_of(image: Image.Image, side_px: int) -> bytes:
    """A small JPEG of an RGB picture, its longer side ``side_px`` pixels at most."""
    width, height = image.size
    shrink = min(1.0, side_px / max(width, height))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80, optimize=True)
    return stream.getvalue()


def _resize(image: Image.Image, width: int, height: int, filter_: Image.Resampling) -> Image.Image:
    if width * height > MAX_PIXELS:
        raise ImageUnreadable(
            f"a picture of {image.width} × {image.height} pixels is too long and thin", hint="crop it to what matters"
        )
    return image if image.size == (width, height) else image.resize((width, height), filter_)


def _centre(image: Image.Image, side: int, fill: int) -> Image.Image:
    """The middle square; where the picture is smaller, ``fill`` around it, the odd pixel right and below."""
    width, height = image.size
    if width < side or height < side:
        ground = Image.new("RGB", (max(width, side), max(height, side)), (fill,) * 3)
        ground.paste(image, (max(0, (side - width) // 2), max(0, (side - height) // 2)))
        image = ground
        width, height = image.size
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))
