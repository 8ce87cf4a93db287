"""Every kind of picture, every kind of damage, and open_clip's preprocessing bit for bit."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import struct
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from PIL import Image, features

from clipalign.data import images
from clipalign.data import sources as image_bytes
from clipalign.data.images import open_image
from clipalign.data.transforms import to_tensor
from clipalign.errors import ImageUnreadable
from clipalign.models.load import import_open_clip

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def random_image(width: int, height: int) -> Image.Image:
    numbers = numpy.random.default_rng(0)
    return Image.fromarray(numbers.integers(0, 256, (height, width, 3), dtype=numpy.uint8))


def near(found: Any, wanted: tuple[int, int, int], tolerance: int = 3) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(found, wanted, strict=True))


def reds(image: Image.Image) -> list[int]:
    """The first channel of every pixel."""
    return list(image.getchannel("R").tobytes())


class TestFormats:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
    def test_are_read_as_rgb(self, kind: str) -> None:
        if kind == "AVIF" and not features.check("avif"):
            pytest.skip("this Pillow reads no AVIF")
        image = open_image(encoded(Image.new("RGB", (8, 6), RED), kind))
        assert (image.mode, image.size) == ("RGB", (8, 6)) and near(image.getpixel((3, 3)), RED)

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_of_several_frames_the_first_counts(self, kind: str) -> None:
        frames = [Image.new("RGB", (4, 4), color) for color in (RED, BLACK, WHITE)]
        image = open_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert near(image.getpixel((1, 1)), RED)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV"])
    def test_other_color_spaces(self, mode: str) -> None:
        grey = Image.new("RGB", (4, 4), (255, 255, 255)).convert("L" if mode == "LAB" else mode)
        source = grey if mode in ("HSV", "YCbCr", "LAB") else encoded(grey, "TIFF")
        image = open_image(source)
        assert image.mode == "RGB" and near(image.getpixel((1, 1)), WHITE)

    def test_cmyk_jpegs(self) -> None:
        image = open_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
        assert near(image.getpixel((8, 8)), RED, 12)

    @pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
    def test_sixteen_bits_are_scaled_not_clipped(self, mode: str) -> None:
        values = numpy.array([[0, 257 * 100, 65535]])
        kind = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
        image = open_image(Image.frombytes(mode, (3, 1), values.astype(kind).tobytes()))
        assert [image.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (100, 100, 100), (255, 255, 255)]

    def test_sixteen_bit_pngs(self) -> None:
        values = numpy.array([[0, 257 * 100, 65535]], dtype=numpy.uint16)
        image = open_image(encoded(Image.fromarray(values)))
        assert reds(image) == [0, 100, 255]

    @pytest.mark.parametrize(
        ("values", "wanted"),
        [
            ([0.0, 0.2, 1.0], [0, 51, 255]),
            ([0.0, 51.0, 255.0], [0, 51, 255]),
            ([-1.0, 0.0, 1.0], [0, 128, 255]),
            ([7000.0, 7000.0, 7000.0], [0, 0, 0]),
            ([0.0, float("nan"), 1.0], [0, 0, 255]),
        ],
        ids=["share", "8 bits", "signed", "flat", "nan"],
    )
    def test_floating_point(self, values: list[float], wanted: list[int]) -> None:
        image = open_image(encoded(Image.fromarray(numpy.array([values], dtype=numpy.float32)), "TIFF"))
        assert reds(image) == wanted

    def test_a_narrow_range_is_stretched_without_a_word(self) -> None:
        values = numpy.array([[-0.001, 0.0, 0.001]], dtype=numpy.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = open_image(encoded(Image.fromarray(values), "TIFF"))
        assert reds(image) == [0, 128, 255]

    def test_deep_gray_is_scaled_by_its_whole_range_in_stripes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(images, "_STRIPE_PIXELS", 1)
        values = numpy.array([[-1.0], [0.0], [float("inf")], [1.0]], dtype=numpy.float32)
        image = open_image(Image.fromarray(values))
        assert reds(image) == [0, 128, 128, 255]


class TestTransparency:
    @pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
    def test_lies_over_white(self, mode: str) -> None:
        layered = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
        layered.putpixel((1, 0), (0, 0, 0, 255))
        via = {"PA": "P", "La": "LA"}.get(mode)
        image = open_image((layered.convert(via) if via else layered).convert(mode))
        assert image.getpixel((0, 0)) == WHITE and image.getpixel((1, 0)) == BLACK

    def test_half_transparent_is_half_white(self) -> None:
        assert open_image(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))).getpixel((0, 0)) == (127, 127, 127)

    @pytest.mark.parametrize("mode", ["P", "RGB", "L"])
    def test_of_a_single_color(self, mode: str) -> None:
        image = Image.new(mode, (2, 1), 0)
        if mode == "P":
            image.putpalette([0, 0, 0, 255, 0, 0])
        red: dict[str, int | tuple[int, int, int]] = {"P": 1, "RGB": RED, "L": 76}
        image.putpixel((1, 0), red[mode])
        content = encoded(image, transparency={"P": 0, "RGB": (0, 0, 0), "L": 0}[mode])
        assert open_image(content).getpixel((0, 0)) == WHITE
        assert open_image(content).getpixel((1, 0)) == ((76, 76, 76) if mode == "L" else RED)

    def test_of_a_palette_with_many(self) -> None:
        image = Image.new("P", (2, 1), 0)
        image.putpalette([0, 0, 0, 255, 0, 0])
        image.putpixel((1, 0), 1)
        content = encoded(image, transparency=b"\x00\x80")
        assert open_image(content).getpixel((0, 0)) == WHITE
        assert near(open_image(content).getpixel((1, 0)), (255, 127, 127))


class TestOrientation:
    def turned(self) -> bytes:
        image = Image.new("RGB", (20, 10), RED)
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn clockwise to see it upright
        return encoded(image, "JPEG", exif=exif)

    def test_of_exif_is_applied(self) -> None:
        assert open_image(self.turned()).size == (10, 20)

    def test_can_be_left(self) -> None:
        assert open_image(self.turned(), exif=False).size == (20, 10)

    def test_that_cannot_be_read_leaves_the_picture(self) -> None:
        content = encoded(Image.new("RGB", (20, 10)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        assert open_image(content).size == (20, 10)


class TestSources:
    def test_a_path_a_string_and_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "a b ü.png"
        path.write_bytes(encoded(random_image(5, 4)))
        found = [open_image(source) for source in (path, str(path), path.read_bytes())]
        assert all(image.tobytes() == random_image(5, 4).tobytes() for image in found)

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin = SimpleNamespace(buffer=io.BytesIO(encoded(random_image(5, 4))))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert open_image("-").size == (5, 4)
        with pytest.raises(ImageUnreadable, match="standard input is empty"):
            open_image("-")

    def test_a_pillow_image_is_left_as_it_was(self) -> None:
        image = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
        assert open_image(image).mode == "RGB"
        assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (1, 2, 3, 4))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


class TestDamage:
    def fail(self, source: Any) -> ImageUnreadable:
        with pytest.raises(ImageUnreadable) as caught:
            open_image(source)
        assert caught.value.exit_status == 3 and "\n" not in caught.value.message
        return caught.value

    def test_a_missing_file(self, tmp_path: Path) -> None:
        error = self.fail(tmp_path / "no.png")
        assert error.message == f"there is no file {tmp_path / 'no.png'}" and error.hint == f"looked in {tmp_path}"
        assert self.fail("/nowhere/no.png").hint == "there is no folder /nowhere"

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "is a folder" in self.fail(tmp_path).message

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "empty.png").touch()
        assert self.fail(tmp_path / "empty.png").message == f"{tmp_path / 'empty.png'} is empty"

    def test_a_path_that_cannot_be_one(self) -> None:
        assert "cannot be read" in self.fail("a\0b.png").message
        assert "cannot be read" in self.fail("x" * 5000).message

    @pytest.mark.parametrize(
        ("content", "hint"),
        [
            (b"hello, I am text", "pictures are JPEG"),
            (b"<svg xmlns=''/>", "web page or SVG"),
            (b"%PDF-1.7", "looks like a PDF"),
            (b"RIFF....WAVEfmt ", "looks like sound"),
            (b"BMW drawings are in the other folder", "pictures are JPEG"),
        ],
    )
    def test_files_that_are_no_picture(self, tmp_path: Path, content: bytes, hint: str) -> None:
        path = tmp_path / "thing.png"
        path.write_bytes(content)
        error = self.fail(path)
        assert error.message == f"{path} is not a picture" and hint in error.hint and error.input == str(path)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_pictures_cut_short(self, kind: str, share: float, recwarn: pytest.WarningsRecorder) -> None:
        content = encoded(random_image(40, 40), kind)
        assert "damaged or cut short" in self.fail(content[: int(len(content) * share)]).message
        assert not recwarn

    def test_nothing_but_these_errors_leaves(self, capfd: pytest.CaptureFixture[str]) -> None:
        numbers = numpy.random.default_rng(0)
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
            content = bytearray(encoded(random_image(16, 16), kind))
            for _ in range(40):
                broken = bytearray(content)
                for place in numbers.integers(0, len(content), 5):
                    broken[place] = numbers.integers(0, 256)
                with contextlib.suppress(ImageUnreadable):
                    assert open_image(bytes(broken)).mode == "RGB"
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("place", ["Image.Image.load", "ImageOps.exif_transpose"])
    def test_a_picture_that_finds_no_memory_is_not_called_damaged(
        self, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        content = TestOrientation().turned()

        def fail(*arguments: object) -> None:
            raise MemoryError

        monkeypatch.setattr(f"PIL.{place}", fail)
        assert self.fail(content).message == "the image needs more memory than there is"

    @pytest.mark.parametrize("size", [(11_000, 10_000), (20_000, 10_000), (1 << 31 - 1, 1 << 20)])
    def test_decompression_bombs(self, tmp_path: Path, size: tuple[int, int], recwarn: pytest.WarningsRecorder) -> None:
        path = tmp_path / "bomb.png"
        path.write_bytes(bomb(*size))
        error = self.fail(path)
        assert str(path) in error.message and "too large" in error.message and "100 million" in error.message
        assert not recwarn

    def test_a_palette_that_comes_before_the_header(self, tmp_path: Path) -> None:
        content = encoded(Image.new("RGB", (8, 6), RED).quantize(2))
        size = 12 + int.from_bytes(content[33:37], "big")
        assert content[37:41] == b"PLTE"
        path = tmp_path / "swapped.png"
        path.write_bytes(content[:8] + content[33 : 33 + size] + content[8:33] + content[33 + size :])
        assert "damaged or cut short" in self.fail(path).message

    def test_programs_that_would_draw_a_picture_are_not_run(self, tmp_path: Path) -> None:
        content = encoded(Image.new("RGB", (8, 6), RED), "EPS")
        assert content.startswith(b"%!PS")
        path = tmp_path / "drawing.png"
        path.write_bytes(content)
        assert "a program that draws one" in self.fail(path).message

    def test_a_jpeg_that_goes_over_itself_a_thousand_times(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = encoded(random_image(16, 16), "JPEG", progressive=True)
        scans = content[content.find(b"\xff\xda") : -2]
        path = tmp_path / "bomb.jpg"
        path.write_bytes(content[:-2] + scans * 100 + content[-2:])
        assert open_image(path).size == (16, 16)
        monkeypatch.setattr(images, "MAX_SCANNED_PIXELS", 16 * 16 * 100)
        assert "JPEG scans, too many to decode" in self.fail(path).message

    def test_large_pictures_are_decoded_one_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(images, "LARGE_PIXELS", 100)
        content = encoded(random_image(16, 16))
        with images._large_one:
            threading.Thread(target=open_image, args=(encoded(random_image(5, 4)),)).start()  # small ones do not wait
            waiting = threading.Thread(target=open_image, args=(content,))
            waiting.start()
            waiting.join(0.2)
            assert waiting.is_alive()
        waiting.join(5)
        assert not waiting.is_alive()

    def test_a_large_picture_within_the_limit_is_no_bomb(self, recwarn: pytest.WarningsRecorder) -> None:
        assert open_image(Image.new("RGB", (9_500, 9_500))).size == (9_500, 9_500)
        assert not recwarn


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(0.5)
        content = encoded(random_image(5, 4)) if self.path != "/large" else bytes(5000)
        self.send_response(200 if self.path in ("/a.png", "/large", "/slow") else 404)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class TestAddresses:
    @pytest.fixture(autouse=True)
    def no_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_PROXY", "*")

    def fail(self, address: str, **options: Any) -> str:
        with pytest.raises(ImageUnreadable) as caught:
            open_image(address, **options)
        assert caught.value.input == address
        return caught.value.message

    def test_are_fetched(self, address: str) -> None:
        assert open_image(f"{address}/a.png").size == (5, 4)

    def test_answer_with_their_status(self, address: str) -> None:
        assert "has no such file (404)" in self.fail(f"{address}/none.png")

    def test_are_refused_offline(self, address: str) -> None:
        assert "offline" in self.fail(f"{address}/a.png", offline=True)

    def test_have_a_limit_of_size(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_bytes, "MAX_DOWNLOAD_BYTES", 1000)
        assert "larger than" in self.fail(f"{address}/large")

    def test_have_a_limit_of_time(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_bytes, "TIMEOUT_SECONDS", 0.1)
        assert "did not answer within" in self.fail(f"{address}/slow")

    def test_may_not_be_there(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{free.getsockname()[1]}/a.png"
        assert "cannot be fetched: no connection" in self.fail(address)


MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def model(side: int, resize_mode: str = "shortest", interpolation: str = "bicubic") -> Any:
    return SimpleNamespace(
        image_size=side, mean=MEAN, std=STD, interpolation=interpolation, resize_mode=resize_mode, fill_color=0
    )


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_preparation_is_open_clips_bit_for_bit(resize_mode: str, interpolation: str) -> None:
    sizes = [(64, 64), (200, 150), (150, 201), (37, 91), (640, 13), (1, 1), (97, 96), (5, 300), (65, 64)]
    for side in (64, 33):
        theirs = import_open_clip().image_transform(
            side, False, mean=MEAN, std=STD, resize_mode=resize_mode, interpolation=interpolation
        )
        for size in sizes:
            image = random_image(*size)
            tensor = to_tensor(image, model(side, resize_mode, interpolation))
            assert tensor.dtype == torch.float32 and tensor.shape == (3, side, side)
            assert torch.equal(tensor, theirs(image)), (size, side)


def test_padding_takes_the_models_color() -> None:
    settings = model(8, "longest")
    settings.fill_color = 255
    tensor = to_tensor(Image.new("RGB", (8, 2)), settings)
    assert torch.allclose(tensor[:, 0, 0], (1 - torch.tensor(MEAN)) / torch.tensor(STD))


def test_a_picture_too_long_and_thin_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ImageUnreadable, match="too long and thin"):
        to_tensor(Image.new("RGB", (100_000, 1)), model(224))
    assert to_tensor(Image.new("RGB", (100_000, 1)), model(8, "longest")).shape == (3, 8, 8)


def test_an_empty_name_and_other_addresses_are_named() -> None:
    with pytest.raises(ImageUnreadable, match="the image name is empty"):
        open_image("")
    for address in ("ftp://x/y.jpg", "file:///y.jpg"):
        with pytest.raises(ImageUnreadable, match="is not read"):
            open_image(address)


@pytest.mark.parametrize("kind", ["path", "bytes", "stdin"])
def test_a_picture_has_a_largest_size_wherever_it_is_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(image_bytes, "MAX_FILE_BYTES", 1000)
    content = bytes(1001)
    (tmp_path / "x.png").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(ImageUnreadable, match="too large"):
        sources: dict[str, Path | bytes | str] = {"path": tmp_path / "x.png", "bytes": content, "stdin": "-"}
        open_image(sources[kind])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no devices and pipes with names here")
@pytest.mark.parametrize(("there", "asked"), [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")])
def test_a_name_that_another_system_composed_is_found(tmp_path: Path, there: str, asked: str) -> None:
    (tmp_path / there).mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / there / f"{there}.png")
    assert open_image(tmp_path / asked / f"{asked}.png").size == (2, 2)
    with pytest.raises(ImageUnreadable, match="there is no file"):
        open_image(tmp_path / asked / "none.png")


def test_a_device_or_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for place in ("/dev/zero", tmp_path / "pipe.png"):
        with pytest.raises(ImageUnreadable, match="a device, a pipe or a socket, not a file"):
            open_image(place)


def test_the_warning_filters_stay_as_they_were() -> None:
    before = list(warnings.filters)
    open_image(encoded(random_image(5, 4)))
    assert warnings.filters == before


@pytest.mark.parametrize(
    ("size", "format", "shorter_px", "expected"),
    [
        ((900, 700), "JPEG", 175, (225, 175)),
        ((900, 700), "JPEG", 176, (450, 350)),
        ((900, 700), "JPEG", 80, (113, 88)),  # 1/8 at most
        ((900, 700), "JPEG", 351, (900, 700)),
        ((900, 700), "JPEG", None, (900, 700)),
        ((900, 700), "PNG", 80, (900, 700)),
    ],
)
def test_a_jpeg_is_decoded_no_smaller_than_asked(
    size: tuple[int, int], format: str, shorter_px: int | None, expected: tuple[int, int]
) -> None:
    for mode in ("RGB", "L", "CMYK"):
        if format == "PNG" and mode == "CMYK":
            continue
        stream = io.BytesIO()
        Image.effect_mandelbrot(size, (-2, -1, 1, 1), 20).convert(mode).save(stream, format)
        found = open_image(stream.getvalue(), shorter_px=shorter_px)
        assert (found.size, found.mode) == (expected, "RGB")
        exact = open_image(stream.getvalue()).resize(expected, Image.Resampling.BOX)
        assert numpy.abs(numpy.asarray(found, float) - numpy.asarray(exact, float)).mean() < 4


def test_a_turned_or_truncated_jpeg_is_told_at_reduced_scale_too() -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    random_image(900, 700).save(stream, "JPEG", exif=exif)
    assert open_image(stream.getvalue(), shorter_px=175).size == (175, 225)
    with pytest.raises(ImageUnreadable, match="damaged or cut short"):
        open_image(stream.getvalue()[:20_000], shorter_px=175)
