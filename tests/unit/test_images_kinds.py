"""Every way to store a picture that Pillow opens gives the picture, or is refused; none gives other colors."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy
import PIL
import pytest
from PIL import Image

from clipalign.data.images import open_image
from clipalign.errors import ImageUnreadable

Values = numpy.ndarray[tuple[int, ...], numpy.dtype[Any]]

_Y, _X = numpy.mgrid[0:8, 0:16]
COLOR = numpy.stack([_X * 17, _Y * 34, 255 - _X * 17], axis=2).astype(numpy.uint8)
GREY = numpy.broadcast_to((_X * 17)[..., None], (8, 16, 3)).astype(numpy.uint8)
LEVELS = GREY[..., 0]
ALPHA = numpy.where(_X < 8, 0, 255).astype(numpy.uint8)


def over_white(values: Values) -> Values:
    return numpy.where(ALPHA[..., None] > 0, values, 255).astype(numpy.uint8)


def packed(levels: Values, bits: int) -> bytes:
    """Rows of samples below 8 bits or of 12, padded to bytes."""
    rows = levels.reshape(levels.shape[0], -1)
    spread = (rows[..., None] >> numpy.arange(bits - 1, -1, -1)) & 1
    return numpy.packbits(spread.reshape(rows.shape[0], -1).astype(numpy.uint8), axis=1).tobytes()


def tiff(
    data: bytes | list[bytes],
    photometric: int,
    bits: int,
    samples: int,
    *,
    signed: int = 1,
    extra: tuple[int, ...] = (),
    palette: bytes = b"",
    big: bool = False,
    more: dict[int, int] | None = None,
) -> bytes:
    """A TIFF without compression, its planes chunky, or one after another where ``data`` is a list."""
    order, planes = ">" if big else "<", data if isinstance(data, list) else [data]
    entries: dict[int, tuple[str, list[int]]] = {
        256: ("H", [16]),
        257: ("H", [8]),
        258: ("H", [bits] * samples),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("I", [8 + sum(map(len, planes[:i])) for i in range(len(planes))]),
        277: ("H", [samples]),
        278: ("H", [8]),
        279: ("I", [len(plane) for plane in planes]),
        284: ("H", [2 if isinstance(data, list) else 1]),
        339: ("H", [signed] * samples),
    }
    if extra:
        entries[338] = ("H", list(extra))
    if palette:
        entries[320] = ("H", list(struct.unpack(f"{order}{len(palette) // 2}H", palette)))
    for tag, value in (more or {}).items():
        entries[tag] = ("H", [value & 0xFFFF, value >> 16] if value >> 16 else [value])
    body = b"".join(planes)
    body += b"\0" * (len(body) % 2)
    start, rows = 8 + len(body), b""
    apart, place = b"", start + 2 + 12 * len(entries) + 4
    for tag in sorted(entries):
        kind, values = entries[tag]
        content = struct.pack(f"{order}{len(values)}{kind}", *values)
        head = struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(values))
        if len(content) > 4:
            rows += head + struct.pack(f"{order}I", place + len(apart))
            apart += content
        else:
            rows += head + content.ljust(4, b"\0")
    header = (b"MM\0*" if big else b"II*\0") + struct.pack(f"{order}I", start)
    return header + body + struct.pack(f"{order}H", len(entries)) + rows + bytes(4) + apart


def png(data: bytes, kind: int, bits: int, **chunks: bytes) -> bytes:
    """A PNG without filters; ``data`` is of 8 rows."""
    size = len(data) // 8

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + data[row * size : (row + 1) * size] for row in range(8))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 8, bits, kind, 0, 0, 0))
    before = b"".join(chunk(name.encode(), content) for name, content in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def deep(values: Values, big: bool = False) -> bytes:
    """8-bit samples as 16-bit ones."""
    return (values.astype(numpy.uint32) * 257).astype(">u2" if big else "<u2").tobytes()


def floats(values: Values) -> bytes:
    return (values / 255).astype("<f4").tobytes()


def planes(values: Values) -> list[Values]:
    return [values[..., index] for index in range(values.shape[2])]


RGBA, LA = numpy.dstack([COLOR, ALPHA]), numpy.dstack([LEVELS, ALPHA])
CMYK = numpy.dstack([255 - COLOR, numpy.zeros_like(LEVELS)])
YCBCR = numpy.asarray(Image.fromarray(COLOR).convert("YCbCr"))
INDEX = LEVELS // 17
PALETTE = numpy.arange(48, dtype=numpy.uint8).reshape(16, 3) * 5
COLORS = PALETTE[INDEX]
TWELVE = LEVELS.astype(numpy.uint32) * 4095 // 255
PALETTE_16 = numpy.pad(PALETTE, ((0, 240), (0, 0))).T


def clear(level: int) -> Values:
    return numpy.where(LEVELS[..., None] == level, 255, GREY).astype(numpy.uint8)


READ: dict[str, tuple[bytes, Values]] = {
    "tiff white is zero 4": (tiff(packed((255 - LEVELS) >> 4, 4), 0, 4, 1), GREY),
    "tiff white is zero 8": (tiff((255 - LEVELS).tobytes(), 0, 8, 1), GREY),
    "tiff white is zero 16": (tiff(deep(255 - LEVELS), 0, 16, 1), GREY),
    "tiff white is zero float": (tiff(floats(255 - LEVELS), 0, 32, 1, signed=3), GREY),
    "tiff 12": (tiff(packed(TWELVE, 12), 1, 12, 1), GREY),
    "tiff 16": (tiff(deep(LEVELS, big=True), 1, 16, 1, big=True), GREY),
    "tiff float": (tiff(floats(LEVELS), 1, 32, 1, signed=3), GREY),
    "tiff grey and alpha": (tiff(LA.tobytes(), 1, 8, 2, extra=(2,)), over_white(GREY)),
    "tiff grey and something": (tiff(LA.tobytes(), 1, 8, 2, extra=(0,)), GREY),
    "tiff rgb 16": (tiff(deep(COLOR), 2, 16, 3), COLOR),
    "tiff rgb planes": (tiff([plane.tobytes() for plane in planes(COLOR)], 2, 8, 3), COLOR),
    "tiff rgba": (tiff(RGBA.tobytes(), 2, 8, 4, extra=(2,)), over_white(COLOR)),
    "tiff rgba 16": (tiff(deep(RGBA), 2, 16, 4, extra=(2,)), over_white(COLOR)),
    "tiff rgb and something": (tiff(RGBA.tobytes(), 2, 8, 4, extra=(0,)), COLOR),
    "tiff cmyk": (tiff(CMYK.tobytes(), 5, 8, 4), COLOR),
    "tiff cmyk 16": (tiff(deep(CMYK), 5, 16, 4), COLOR),
    "tiff ycbcr": (tiff(YCBCR.tobytes(), 6, 8, 3), COLOR),
    "tiff palette": (tiff(INDEX.tobytes(), 3, 8, 1, palette=deep(PALETTE_16)), COLORS),
    "tiff palette of bytes": (tiff(INDEX.tobytes(), 3, 8, 1, palette=PALETTE_16.astype("<u2").tobytes()), COLORS),
    "png grey 2": (
        png(packed(LEVELS // 85, 2), 0, 2, tRNS=b"\0\2"),
        numpy.where(LEVELS[..., None] // 85 == 2, 255, GREY // 85 * 85),
    ),
    "png grey 4": (png(packed(INDEX, 4), 0, 4, tRNS=b"\0\2"), clear(34)),
    "png grey 8": (png(LEVELS.tobytes(), 0, 8, tRNS=b"\0\x22"), clear(34)),
    "png grey 16": (png(deep(LEVELS, big=True), 0, 16, tRNS=b"\x22\x22"), clear(34)),
    "png grey and alpha 16": (png(deep(LA, big=True), 4, 16), over_white(GREY)),
    "png rgba 16": (png(deep(RGBA, big=True), 6, 16), over_white(COLOR)),
    "png palette": (
        png(packed(INDEX, 4), 3, 4, PLTE=PALETTE.tobytes(), tRNS=b"\xff\0"),
        numpy.where(INDEX[..., None] == 1, 255, COLORS),
    ),
    "ppm 16": (b"P6 16 8 65535\n" + deep(COLOR, big=True), COLOR),
    "pgm 4": (b"P5 16 8 15\n" + INDEX.tobytes(), GREY),
    "pfm": (b"Pf\n16 8\n-1.0\n" + floats(LEVELS[::-1]), GREY),
    "jpeg 2000 16": (encoded(Image.fromarray(LEVELS.astype(numpy.uint16) * 257), "JPEG2000"), GREY),
    "webp": (encoded(Image.fromarray(RGBA), "WEBP", lossless=True), over_white(COLOR)),
}
"""The picture, and what it must look like within 3 of 255: YCbCr is rounded."""

SINCE_PILLOW_13 = ("tiff grey and something", "tiff ycbcr")
"""Kinds that the versions before cannot read, or give other colors of."""


@pytest.mark.parametrize("kind", READ)
def test_a_picture_is_the_same_however_it_is_stored(kind: str) -> None:
    content, wanted = READ[kind]
    if kind in SINCE_PILLOW_13 and int(PIL.__version__.partition(".")[0]) < 13:
        with pytest.raises(ImageUnreadable, match="kind of picture that is not read"):
            open_image(content)
        return
    found = numpy.asarray(open_image(content)).astype(int)
    assert abs(found - wanted.astype(int)).max() <= 3


REFUSED: dict[str, tuple[bytes, str]] = {
    "tiff signed": (tiff(LEVELS.tobytes(), 1, 8, 1, signed=2), "8-bit signed"),
    "tiff signed 16": (tiff(deep(LEVELS // 2), 1, 16, 1, signed=2), "16-bit signed"),
    "tiff 32": (tiff((LEVELS.astype("<u4") * 0x1010101).tobytes(), 1, 32, 1), "32-bit unsigned"),
    "tiff float beyond 1": (tiff((LEVELS / 250).astype("<f4").tobytes(), 1, 32, 1, signed=3), "floating-point"),
    "tiff rgb float": (tiff(floats(COLOR), 2, 32, 3, signed=3), "RGB, 3 × 32-bit floating-point"),
    "tiff rgb planes 16": (tiff([deep(plane) for plane in planes(COLOR)], 2, 16, 3), "plane by plane"),
    "tiff rgba planes": (tiff([plane.tobytes() for plane in planes(RGBA)], 2, 8, 4, extra=(1,)), "plane by plane"),
    "tiff cmyk and alpha": (tiff(numpy.dstack([CMYK, ALPHA]).tobytes(), 5, 8, 5, extra=(2,)), "CMYK, 5 × 8-bit"),
    "tiff ycbcr fewer colors": (tiff(bytes(16 * 8 * 3 // 2), 6, 8, 3, more={530: 2 | 2 << 16}), "YCbCr"),
    "tiff mask": (tiff(packed(LEVELS >> 7, 1), 4, 1, 1), "a mask"),
    "tiff compression": (tiff(COLOR.tobytes(), 2, 8, 3, more={259: 34887}), "compression 34887"),
    "tiff differences": (tiff(COLOR.tobytes(), 2, 8, 3, more={317: 2}), "predictor 2"),
    "tiff packed differences": (
        tiff(b"".join(b"\x2f" + row.tobytes() for row in COLOR), 2, 8, 3, more={259: 32773, 317: 2}),
        "compression 32773, predictor 2",
    ),
    "jpeg 12": (b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x08\0\x10\1\1\x11\0" + bytes(40), "a JPEG of 12 bits"),
    "jpeg lossless": (b"\xff\xd8\xff\xc3\0\x0b\x08\0\x08\0\x10\1\1\x11\0" + bytes(40), "a lossless JPEG"),
    "jpeg xl": (b"\xff\x0a" + bytes(30), "JPEG XL"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "pfm rgb": (b"PF\n16 8\n-1.0\n" + floats(COLOR), "a color PFM"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_that_is_not_read_is_named_and_not_called_damaged(kind: str) -> None:
    content, what = REFUSED[kind]
    with pytest.raises(ImageUnreadable) as caught:
        open_image(content)
    assert "kind of picture that is not read" in caught.value.message and what in caught.value.message
    assert "8-bit PNG" in (caught.value.hint or "")


def test_a_tiff_that_breaks_off_is_damaged_whatever_its_kind() -> None:
    content = encoded(Image.fromarray(COLOR), "TIFF")
    broken = [content[:100], tiff(floats(COLOR), 2, 32, 3, signed=3, more={279: 1 << 20})]
    for one in broken:
        with pytest.raises(ImageUnreadable, match="damaged or cut short"):
            open_image(one)


def test_heic_names_its_extra_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipalign.data.images._register_heif", lambda: None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(ImageUnreadable, match="not read: HEIC") as caught:
        open_image(b"\0\0\0\x18ftypheic....")
    assert "clipalign[heic]" in (caught.value.hint or "")
