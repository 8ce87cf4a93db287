"""Small pictures in every format that can be written here, and how each of them is broken."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any, Final

from PIL import Image

from tests.hardening.mutations import mutated

WIDTH, HEIGHT = 37, 29
"""Odd numbers, so that they are easily found in a header."""

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_SIZES: Final = (0, 1, 2, 4096, 10_000, 30_000, 65_535, 1_000_000, 0x7FFFFFFF, 0xFFFFFFFF)
"""What a header is made to claim."""

_LENGTHS: Final = (0, 1, 3, 4, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@cache
def originals() -> dict[str, dict[str, bytes]]:
    """Valid pictures: format → variant → bytes."""
    rgb = _drawing()
    gray, palette, alpha = rgb.convert("L"), rgb.quantize(16), rgb.convert("RGBA")
    alpha.putalpha(gray)
    frames = [rgb, rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT), rgb.rotate(90, expand=False)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a drawing"
    moving: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    deep = Image.new("I;16", rgb.size)
    deep.putdata([value * 257 for value in _values(gray)])
    found = {
        "JPEG": {
            "baseline": _saved(rgb, "JPEG"),
            "progressive": _saved(rgb, "JPEG", progressive=True),
            "CMYK": _saved(rgb.convert("CMYK"), "JPEG"),
            "gray": _saved(gray, "JPEG"),
            "turned by EXIF": _saved(rgb, "JPEG", exif=exif, comment=b"a comment"),
            "unsampled": _saved(rgb, "JPEG", subsampling=0, quality=100, optimize=True),
            "several": _saved(rgb, "MPO", **moving),
        },
        "PNG": {
            "1 bit": _saved(rgb.convert("1"), "PNG"),
            "2 bits": _saved(rgb.quantize(4), "PNG", bits=2),
            "4 bits": _saved(palette, "PNG", bits=4),
            "palette": _saved(rgb.quantize(200), "PNG"),
            "palette with transparency": _saved(palette, "PNG", transparency=b"\x00\x7f\xff"),
            "gray": _saved(gray, "PNG"),
            "gray with alpha": _saved(alpha.convert("LA"), "PNG"),
            "16 bits": _saved(deep, "PNG"),
            "RGB": _saved(rgb, "PNG", exif=exif),
            "RGBA": _saved(alpha, "PNG"),
            "interlaced": _interlaced(rgb),
            "animated": _saved(rgb, "PNG", **moving),
        },
        "WebP": {
            "lossy": _saved(rgb, "WEBP"),
            "lossless": _saved(rgb, "WEBP", lossless=True),
            "with alpha": _saved(alpha, "WEBP", exif=exif),
            "animated": _saved(rgb, "WEBP", **moving),
        },
        "GIF": {
            "still": _saved(palette, "GIF"),
            "gray, transparent": _saved(gray, "GIF", transparency=3),
            "animated": _saved(rgb, "GIF", **moving, loop=0, disposal=2),
        },
        "BMP": {
            "24 bits": _saved(rgb, "BMP"),
            "8 bits": _saved(palette, "BMP"),
            "1 bit": _saved(rgb.convert("1"), "BMP"),
            "32 bits": _saved(alpha, "BMP"),
            "DIB": _saved(rgb, "DIB"),
        },
        "TIFF": {
            "raw": _saved(rgb, "TIFF"),
            "LZW": _saved(rgb, "TIFF", compression="tiff_lzw"),
            "deflate": _saved(alpha, "TIFF", compression="tiff_adobe_deflate"),
            "JPEG": _saved(rgb, "TIFF", compression="jpeg"),
            "packbits": _saved(palette, "TIFF", compression="packbits"),
            "group 4": _saved(rgb.convert("1"), "TIFF", compression="group4"),
            "16 bits": _saved(deep, "TIFF"),
            "floats": _saved(gray.convert("F"), "TIFF"),
            "CMYK": _saved(rgb.convert("CMYK"), "TIFF"),
            "pages": _saved(rgb, "TIFF", **moving),
            "big-endian": _big_endian_tiff(gray),
        },
        "ICO": {
            "icon": _saved(alpha, "ICO", sizes=[(16, 16), (24, 24)]),
            "icon of BMP": _saved(alpha, "ICO", bitmap_format="bmp", sizes=[(16, 16)]),
        },
        "PPM": {
            "color": _saved(rgb, "PPM"),
            "gray": _saved(gray, "PPM"),
            "1 bit": _saved(rgb.convert("1"), "PPM"),
            "floats": _saved(gray.convert("F"), "PPM"),
            "text": b"P3\n3 2\n255\n" + b"255 0 0 0 255 0 0 0 255 " * 2,
        },
        "JPEG 2000": {
            "reversible": _saved(rgb, "JPEG2000"),
            "lossy": _saved(rgb, "JPEG2000", irreversible=True, quality_layers=[20]),
        },
        "others": {
            "TGA": _saved(rgb, "TGA", compression="tga_rle"),
            "TGA raw": _saved(alpha, "TGA"),
            "PCX": _saved(palette, "PCX"),
            **({"QOI": _saved(rgb, "QOI")} if "QOI" in Image.SAVE else {}),
            "SGI": _saved(rgb, "SGI"),
            "DDS": _saved(alpha, "DDS"),
            "XBM": _saved(rgb.convert("1"), "XBM"),
            "IM": _saved(rgb, "IM"),
            "MSP": _saved(rgb.convert("1"), "MSP"),
            "SPIDER": _saved(gray.convert("F"), "SPIDER"),
            "BLP": _saved(palette, "BLP"),
            "ICNS": _saved(alpha.resize((16, 16)), "ICNS"),
            "PSD": _psd(rgb),
            "SUN": struct.pack(">8I", 0x59A66A95, WIDTH, HEIGHT, 24, WIDTH * HEIGHT * 3, 1, 0, 0) + bytes(4000),
        },
        "EPS": {"PostScript": _saved(rgb, "EPS")},
    }  # fmt: skip
    if "AVIF" in Image.SAVE:
        found["AVIF"] = {
            "still": _saved(rgb, "AVIF", max_threads=1),
            "with alpha": _saved(alpha, "AVIF", exif=exif, max_threads=1),
            "animated": _saved(rgb, "AVIF", **moving, max_threads=1),
        }
    return found


def broken(random: Random, format: str, content: bytes) -> bytes:
    """``content`` with one thing, or a few, not as the format wants it."""
    special = _SPECIAL.get(format)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if special is not None and random.random() < 0.5:
            content = special(random, content)
        elif random.random() < 0.2:
            content = _field(random, content)
        else:
            content = mutated(random, content, text=False)
    return content


def resized(random: Random, content: bytes) -> bytes:
    """``content`` whose header claims another size: wherever it says 37 or 29 early on."""
    claims = (random.choice(_SIZES), random.choice(_SIZES))
    places = []
    for pattern in (">I", "<I", ">H", "<H"):
        size = struct.calcsize(pattern)
        for number, claim in zip((WIDTH, HEIGHT, WIDTH - 1, HEIGHT - 1), (*claims, *claims), strict=True):
            start = content.find(struct.pack(pattern, number), 0, 400)
            if start >= 0:
                places.append((start, struct.pack(pattern, claim & (1 << 8 * size) - 1)))
        if places:
            break
    changed = bytearray(content)
    for start, claim_bytes in places[: random.choice((1, 2, 2, 4))]:
        changed[start : start + len(claim_bytes)] = claim_bytes
    result = bytes(changed)
    return with_checksums(result) if result.startswith(PNG_SIGNATURE) else result


def spliced(random: Random) -> bytes:
    """The beginning of one format and the end of another, or one inside the other."""
    formats = list(originals())
    first, second = (random.choice(list(originals()[random.choice(formats)].values())) for _ in range(2))
    cut = random.choice((4, 8, 16, 64, random.randrange(len(first) + 1)))
    return random.choice((first[:cut] + second, first[:cut] + second[cut:], first + second, second[:cut] + first))


# --- chunks -----------------------------------------------------------------------------------------------------------


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_checksums(content: bytes) -> bytes:
    """The PNG ``content`` with right checksums, as far as its lengths can be followed."""
    changed, place = bytearray(content), 8
    while place + 12 <= len(changed):
        (size,) = struct.unpack_from(">I", changed, place)
        if place + 12 + size > len(changed):
            break
        struct.pack_into(">I", changed, place + 8 + size, zlib.crc32(bytes(changed[place + 4 : place + 8 + size])))
        place += 12 + size
    return bytes(changed)


def _png_chunks(content: bytes) -> list[bytes]:
    chunks, place = [], 8
    while place + 12 <= len(content):
        size = struct.unpack_from(">I", content, place)[0]
        chunks.append(content[place : place + 12 + size])
        place += 12 + size
    return chunks


def _png(random: Random, content: bytes) -> bytes:
    chunks = _png_chunks(content)
    if not chunks:
        return content
    at = random.randrange(len(chunks))
    change = random.randrange(6)
    if change == 0:
        chunks[at] = struct.pack(">I", random.choice(_LENGTHS)) + chunks[at][4:]
    elif change == 1:
        other = random.randrange(len(chunks))
        chunks[at], chunks[other] = chunks[other], chunks[at]
    elif change == 2:
        chunks.insert(at, chunks[at])
    elif change == 3:
        del chunks[at]
    elif change == 4:  # damaged, but its checksum is right
        body = bytearray(chunks[at][8:-4])
        if body:
            body[random.randrange(min(len(body), 24))] = random.choice((0, 1, 3, 0x7F, 0xFF))
        chunks[at] = png_chunk(chunks[at][4:8], bytes(body))
    else:
        kind = random.choice((b"IDAT", b"PLTE", b"tRNS", b"IHDR", b"gAMA", b"fcTL", b"acTL", b"eXIf", b"iCCP", b"zTXt"))
        chunks.insert(at, png_chunk(kind, random.randbytes(random.choice((0, 1, 4, 13, 26, 300)))))
    return PNG_SIGNATURE + b"".join(chunks)


def _jpeg_segments(content: bytes) -> list[bytes]:
    """Segments up to the scan, which comes last with all behind it."""
    segments, place = [content[:2]], 2
    while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != 0xDA:
        size = 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        segments.append(content[place : place + size])
        place += size
    return [*segments, content[place:]]


def _jpeg(random: Random, content: bytes) -> bytes:
    segments = _jpeg_segments(content)
    at = random.randrange(len(segments))
    change = random.randrange(6)
    if change == 0 and len(segments[at]) >= 4:
        length = (random.choice(_LENGTHS) & 0xFFFF).to_bytes(2, "big")
        segments[at] = segments[at][:2] + length + segments[at][4:]
    elif change == 1:
        other = random.randrange(len(segments))
        segments[at], segments[other] = segments[other], segments[at]
    elif change == 2:
        segments.insert(at, segments[at] * random.choice((1, 2, 50)))
    elif change == 3:
        del segments[at]
    elif change == 4:
        body = bytearray(segments[at])
        body[random.randrange(len(body)) if body else 0 :][:1] = bytes([random.randrange(256)])
        segments[at] = bytes(body)
    else:
        marker = random.randrange(0xC0, 0x100)
        extra = random.randbytes(random.choice((0, 2, 15, 200)))
        segments.insert(at, bytes([0xFF, marker]) + (len(extra) + 2).to_bytes(2, "big") + extra)
    return b"".join(segments)


def _boxed(pattern: str, kinds: tuple[bytes, ...]) -> Callable[[Random, bytes], bytes]:
    """Lies about the length of a RIFF chunk or an ISO box."""

    def lie(random: Random, content: bytes) -> bytes:
        places = [place for kind in kinds if (place := content.find(kind)) >= 0]
        if not places:
            return content
        place = random.choice(places) + (4 if pattern == "<I" else -4)
        if place < 0 or place + 4 > len(content):
            return content
        changed = bytearray(content)
        struct.pack_into(pattern, changed, place, random.choice(_LENGTHS))
        return bytes(changed)

    return lie


def _tiff(random: Random, content: bytes) -> bytes:
    """An entry of the directory with another tag, type, count or value; or a directory that follows itself."""
    if len(content) < 16:
        return content
    order = ">" if content[:2] == b"MM" else "<"
    changed = bytearray(content)
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    if start + 2 > len(content):
        return content
    (entries,) = struct.unpack_from(f"{order}H", content, start)
    if not entries or start + 6 + 12 * entries > len(content):
        return content
    at = start + 2 + 12 * random.randrange(entries)
    change = random.randrange(6)
    if change == 0:
        struct.pack_into(
            f"{order}H", changed, at, random.choice((256, 257, 258, 259, 262, 273, 277, 278, 279, 317, 339))
        )
    elif change == 1:
        struct.pack_into(f"{order}H", changed, at + 2, random.randrange(20))
    elif change == 2:
        struct.pack_into(f"{order}I", changed, at + 4, random.choice(_LENGTHS))
    elif change == 3:
        struct.pack_into(f"{order}I", changed, at + 8, random.choice((*_LENGTHS, *_SIZES, 7, 8, 32773, 34712, 50000)))
    elif change == 4:
        struct.pack_into(
            f"{order}I", changed, start + 2 + 12 * entries, random.choice((start, 4, len(content), 0xFFFFFFF))
        )
    else:
        struct.pack_into(f"{order}H", changed, start, random.choice((0, 1, 0xFFFF)))
    return bytes(changed)


def _field(random: Random, content: bytes) -> bytes:
    """A number near the beginning is another one."""
    changed = bytearray(content)
    pattern = random.choice((">I", "<I", ">H", "<H", "B"))
    size = struct.calcsize(pattern)
    if len(changed) < size + 1:
        return content
    place = random.randrange(min(len(changed) - size, 96))
    struct.pack_into(pattern, changed, place, random.choice((*_LENGTHS, *_SIZES)) & (1 << 8 * size) - 1)
    return bytes(changed)


_BOXES: Final = (
    b"ftyp",
    b"meta",
    b"hdlr",
    b"pitm",
    b"iloc",
    b"iinf",
    b"infe",
    b"iprp",
    b"ipco",
    b"ispe",
    b"av1C",
    b"mdat",
)
_CHUNKS: Final = (b"RIFF", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF")

_SPECIAL: Final[dict[str, Callable[[Random, bytes], bytes]]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WebP": _boxed("<I", _CHUNKS),
    "AVIF": _boxed(">I", _BOXES),
    "JPEG 2000": _boxed(">I", (b"jP  ", b"ftyp", b"jp2h", b"ihdr", b"colr", b"jp2c")),
    "TIFF": _tiff,
    "BMP": _field,
    "GIF": _field,
    "ICO": _field,
    "others": _field,
}


# --- bombs ------------------------------------------------------------------------------------------------------------


def zeros(size: int) -> bytes:
    """A zlib stream of ``size`` zero bytes, made in a moment."""
    block = 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = last.compress(bytes(size % block)) + last.flush(zlib.Z_FINISH)
    return b"\x78\xda" + piece * (size // block) + rest + struct.pack(">HH", size % 65521, 1)


def blank_png(width: int, height: int, *, bits: int = 8, color: int = 2, interlaced: bool = False) -> bytes:
    """A black PNG of any size: a thousand times smaller as a file than as a picture."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    row = 1 + (width * channels * bits + 7) // 8
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, int(interlaced))
    palette = png_chunk(b"PLTE", bytes(3)) if color == 3 else b""
    data = png_chunk(b"IDAT", zeros(row * height + (64 * height if interlaced else 0)))
    return PNG_SIGNATURE + png_chunk(b"IHDR", header) + palette + data + png_chunk(b"IEND", b"")


def pixel_bombs() -> Iterator[tuple[str, bytes]]:
    """Files of a few hundred KB that are as large as a picture may be, or far larger."""
    for bits, color in ((1, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)):
        yield (
            f"PNG of 100 million pixels, {bits} bits, color type {color}",
            blank_png(10_000, 10_000, bits=bits, color=color),
        )
    yield "PNG, one line of 100 million pixels", blank_png(99_999_999, 1, bits=1, color=0)
    yield "PNG, one column of a million pixels", blank_png(1, 1_000_000, color=2)
    yield "PNG, interlaced, 50 million pixels", blank_png(7_000, 7_000, color=0, interlaced=True)
    yield "PNG of 2 billion pixels", blank_png(50_000, 40_000, bits=1, color=0)
    yield "PNG, three of them one behind another", blank_png(10_000, 10_000, bits=1, color=0) * 3
    wide = originals()["JPEG"]["progressive"]
    scan = wide.find(b"\xff\xda")
    body = wide[scan:-2]
    start = wide.find(b"\xff\xc2") + 5
    large = wide[:start] + struct.pack(">HH", 10_000, 10_000) + wide[start + 4 : scan]
    yield "JPEG of 100 million pixels, 10 scans", large + body + b"\xff\xd9"
    yield "JPEG of 100 million pixels, 100 scans", large + body * 10 + b"\xff\xd9"
    yield "JPEG of 100 million pixels, 20,000 scans", large + body * 2000 + b"\xff\xd9"
    gif = originals()["GIF"]["still"]
    yield "GIF of 65535 × 65535", gif[:6] + b"\xff\xff\xff\xff" + gif[10:]
    for format in ("WebP", "AVIF", "BMP", "TIFF", "JPEG 2000"):
        for name, content in originals().get(format, {}).items():
            random = Random(name)
            for _ in range(4):
                yield f"{format} {name} of another size", resized(random, content)


def metadata_bombs() -> Iterator[tuple[str, bytes]]:
    """A small picture that carries far more beside its pixels."""
    png = originals()["PNG"]["RGB"]
    head, rest = png[:33], png[33:]
    for kind, prefix in ((b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")):
        for size in (10**5, 10**8, 10**9):
            yield f"PNG with {kind.decode()} of {size:,} bytes", head + png_chunk(kind, prefix + zeros(size)) + rest
        many = png_chunk(kind, prefix + zeros(10**6)) * 400
        yield f"PNG with 400 chunks of {kind.decode()}, 1 MB each", head + many + rest
    yield "PNG with 50,000 empty texts", head + png_chunk(b"tEXt", b"a\0b") * 50_000 + rest
    yield "PNG with 20 MB of text", head + png_chunk(b"tEXt", b"a\0" + b"b" * 20_000_000) + rest
    yield "APNG that claims 4 billion frames", head + png_chunk(b"acTL", b"\xff\xff\xff\xff\0\0\0\0") + rest
    jpeg = originals()["JPEG"]["baseline"]
    for marker, content in (
        (b"\xff\xe1", b"Exif\0\0II*\0\x08\0\0\0"),
        (b"\xff\xe2", b"ICC_PROFILE\0\1\xff"),
        (b"\xff\xfe", b""),
    ):
        segment = marker + struct.pack(">H", 65_535) + content.ljust(65_533, b"\xff")
        yield f"JPEG with {marker.hex()} 200 times", jpeg[:2] + segment * 200 + jpeg[2:]
    for count in (0xFFFF, 1, 3):
        entry = struct.pack("<HHII", 0x0112, 3, 0xFFFFFFFF, 8) * min(count, 3)
        exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", count) + entry + struct.pack("<I", 8)
        yield (
            f"JPEG whose EXIF claims {count} entries and follows itself",
            (jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]),
        )
    gif = originals()["GIF"]["still"]
    frame = gif[gif.find(b"\x2c", 13 + 48) : -1] if b"\x2c" in gif else b""
    yield "GIF of 20,000 frames", gif[:-1] + frame * 20_000 + b";"
    yield "GIF with 2 MB of comments", gif[:-1] + b"!\xfe" + (b"\xff" + b"a" * 255) * 8_000 + b"\0;"


def no_pictures() -> Iterator[tuple[str, bytes]]:
    """Bytes that were never a picture."""
    yield "nothing", b""
    yield "one byte", b"\xff"
    yield "a line feed", b"\n"
    yield "text", b"a photo of a cat\n" * 20
    yield "JSON", b'{"image": "a.png"}'
    yield "a web page", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    yield "PDF", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"
    yield "HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300)
    yield "a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    yield "a zip", b"PK\x03\x04" + bytes(200)
    yield "a program", b"\x7fELF\x02\x01\x01" + bytes(500)
    yield "a pickle", b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94."
    yield "zeros", bytes(5000)
    yield "noise", Random(1).randbytes(5000)
    yield "a video", b"\0\0\x01\xba" + bytes(100) + b"\0\0\x01\xb3\x16\x01\x20" + bytes(100)
    yield "GRIB", b"GRIB" + bytes(3) + b"\x01" + bytes(100)
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)
    yield "WMF", b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhH", 0, 0, 9, 9, 96) + bytes(12) + b"\x01\0\t\0" + bytes(40)
    yield (
        "PostScript that claims to be large",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90000 90000\n%%EndComments\n",
    )
    for signature in (
        PNG_SIGNATURE,
        b"\xff\xd8\xff",
        b"GIF89a",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"BM",
        b"II*\0",
        b"MM\0*",
    ):
        yield f"the beginning {signature[:4]!r} alone", signature


# --- making -----------------------------------------------------------------------------------------------------------


def _drawing() -> Image.Image:
    random = Random(0)
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.putdata(
        [(x * 6, y * 8, random.randrange(256) if x > 20 else 90) for y in range(HEIGHT) for x in range(WIDTH)]
    )
    return picture


def _values(gray: Image.Image) -> list[int]:
    return list(gray.tobytes())


def _saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    """Pillow leaves settings of one format on a picture, where another stumbles over them: so copies are saved."""
    stream = io.BytesIO()
    if "append_images" in options:
        options["append_images"] = [frame.copy() for frame in options["append_images"]]
    picture.copy().save(stream, format, **options)
    return stream.getvalue()


def _interlaced(picture: Image.Image) -> bytes:
    """Adam7 (PNG specification, section 8.2); Pillow does not write it."""
    pixels = picture.load()
    assert pixels is not None
    rows = bytearray()
    for left, top, right, down in (
        *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
        *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
    ):
        for y in range(top, picture.height, down):
            row = b"".join(bytes(pixels[x, y]) for x in range(left, picture.width, right))  # type: ignore[arg-type]
            rows += b"\0" + row if row else b""
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 1)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(rows))) + png_chunk(b"IEND", b"")
    return PNG_SIGNATURE + chunks


def _big_endian_tiff(gray: Image.Image) -> bytes:
    entries = (
        (256, gray.width),
        (257, gray.height),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, gray.height),
    )
    size = (279, gray.width * gray.height)
    packed = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in (*entries, size))
    return (b"MM\0*\0\0\0\x08" + struct.pack(">H", 9) + packed + bytes(4)).ljust(200, b"\0") + gray.tobytes()


def _psd(rgb: Image.Image) -> bytes:
    planes = b"".join(band.tobytes() for band in rgb.split())
    return b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, rgb.height, rgb.width, 8, 3) + bytes(12) + b"\0\0" + planes
