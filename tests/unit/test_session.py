"""The Python interface: public names, pictures from anywhere, settings that reach the computation."""

from __future__ import annotations

import gc
import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import clipalign
from clipalign import keywords
from clipalign.config.settings import declared
from clipalign.data.images import open_image
from clipalign.data.in_memory import Prepared, image_of
from clipalign.data.transforms import prepare_whole, to_tensor
from clipalign.errors import (
    ClipalignError,
    DeviceUnavailable,
    ImageUnreadable,
    InputUnreadable,
    UnknownModel,
    UsageError,
)
from clipalign.methods.settings import ClassifySettings, DetectSettings, LongSettings
from clipalign.results import DetectResult, Failure, LongResult
from clipalign.session import Session, load
from tests.spy import noting
from tests.tiny import GOLDEN, load_tiny

PICTURE = GOLDEN / "images" / "0.png"


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(load_tiny())


def test_a_model_that_is_named_by_no_text() -> None:
    with pytest.raises(UsageError, match="named by a text"):
        clipalign.load(3)  # type: ignore[arg-type]


class TestPublicNames:
    @pytest.mark.parametrize("name", clipalign.__all__)
    def test_each_is_there_and_documented(self, name: str) -> None:
        found = getattr(clipalign, name)
        assert name == "__version__" or found.__doc__
        assert name in dir(clipalign)

    def test_others_are_not(self) -> None:
        with pytest.raises(AttributeError, match="has no attribute 'detect'"):
            _ = clipalign.detect

    def test_importing_the_package_or_the_session_loads_no_torch(self) -> None:
        program = (
            "import sys, clipalign, clipalign.session; clipalign.Session; clipalign.load; clipalign.ClipalignError;"
            "print([name for name in ('torch', 'open_clip', 'numpy', 'PIL') if name in sys.modules])"
        )
        root = Path(__file__).parents[2]
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
        assert run.stdout.strip() == "[]"


class TestLoad:
    def test_a_config_with_its_weights(self) -> None:
        session = load(f"{GOLDEN / 'tiny-clip.json'}@{GOLDEN / 'tiny-clip.safetensors'}", device="cpu")
        result = session.detect(PICTURE, "a cup of coke")
        assert result.provenance.quick_gelu is True and result.provenance.device == "cpu"
        assert result.cosine == pytest.approx(Session(load_tiny()).detect(PICTURE, "a cup of coke").cosine, abs=1e-6)

    def test_an_unknown_name_or_device(self) -> None:
        with pytest.raises(UnknownModel):
            load("ViT-B32")
        with pytest.raises(DeviceUnavailable):
            load("pictogram", device="gpu")


class TestDetect:
    def test_takes_pictures_from_anywhere(self, session: Session) -> None:
        image = Image.open(PICTURE)
        pixels = np.asarray(image.convert("RGB"))
        tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
        content = PICTURE.read_bytes()
        sources: list[Any] = [PICTURE, str(PICTURE), content, io.BytesIO(content), image]
        sources += [
            pixels,
            pixels.astype(np.float32) / 255,
            tensor,
            tensor[None],
            tensor / 255,
            (tensor / 255).double(),
        ]
        sources += [Prepared(to_tensor(open_image(PICTURE), session.loaded)), session.preprocess(PICTURE)]
        sources += [{"bytes": content, "path": "a.png"}, {"bytes": None, "path": str(PICTURE)}]
        cosines = [session.detect(source, "a red car").cosine for source in sources]
        assert cosines == pytest.approx([cosines[0]] * len(sources), abs=1e-6)

    def test_names_the_picture(self, session: Session) -> None:
        assert session.detect(PICTURE, "a red car").image == str(PICTURE)
        assert session.detect(PICTURE.read_bytes(), "a red car").image == ""

    def test_a_file_of_another_librarys_is_a_path(self, session: Session) -> None:
        with os.scandir(PICTURE.parent) as folder:
            entry: Any = next(one for one in folder if one.name == PICTURE.name)
        assert session.detect(entry, "a red car").image == str(PICTURE)
        assert session.classify(entry, ["cat", "dog"]).image == str(PICTURE)
        assert session.classifier(["cat", "dog"]).classify(entry).id == str(PICTURE)

    def test_settings_reach_the_computation(self, session: Session) -> None:
        result = session.detect(PICTURE, "a red car", mode="most-negative", layers=2, references=["a car"])
        assert len(result.misaligned) == 1 and result.ref_clip_score is not None
        assert result.provenance.settings["layers"] == 2

    def test_unknown_settings_are_named(self, session: Session) -> None:
        with pytest.raises(UsageError, match="epsilom") as caught:
            session.detect(PICTURE, "a red car", epsilom=0.0)  # type: ignore[call-arg]
        assert "epsilon" in caught.value.hint

    def test_many_pairs_read_each_picture_once(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        prepared: list[object] = []
        noted = noting(prepare_whole, lambda picture, *_: prepared.append(picture))
        monkeypatch.setattr("clipalign.methods.detect.prepare_whole", noted)
        content = PICTURE.read_bytes()
        pairs = [(PICTURE, "a red car"), (content, "a cup"), (PICTURE, "a blue car", ["a car"]), (content, "a car")]
        results = session.detect_many([*pairs, clipalign.Pair(Image.open(PICTURE), "a cup", id="last")])
        assert len(prepared) == 3
        assert [result.text for result in results] == ["a red car", "a cup", "a blue car", "a car", "a cup"]
        assert results[2].references == ("a car",) and results[4].id == "last"
        assert session.detect_many([]) == []

    @pytest.mark.parametrize(
        ("image", "text", "said"),
        [
            ([1, 2], "a cat", "an image must be .* not list"),
            (None, "a cat", "an image must be .* not NoneType"),
            (io.StringIO("a"), "a cat", "open for bytes"),
            (np.zeros((3, 8, 8), np.uint8), "a cat", r"has the shape \(3, 8, 8\); a picture is \(H, W, 3\)"),
            (np.zeros((8, 8), np.uint8), "a cat", r"has the shape \(8, 8\)"),
            (torch.zeros(8, 8, 3), "a cat", r"has the shape \(8, 8, 3\); a picture is \(3, H, W\)"),
            (torch.zeros(2, 3, 8, 8), "a cat", r"has the shape \(2, 3, 8, 8\)"),
            (torch.zeros(3, 0, 8), "a cat", r"has the shape \(3, 0, 8\)"),
            (np.zeros((8, 8, 3), np.int64), "a cat", "holds int64; a picture holds uint8"),
            (torch.full((3, 8, 8), 200.0), "a cat", "floats from 200 to 200.*\n.*divide by 255"),
            (torch.full((3, 8, 8), -0.1), "a cat", r"floats from -0\.1 to -0\.1.*\n.*clipalign\.Prepared"),
            (torch.full((3, 8, 8), torch.nan), "a cat", "floats from nan to nan"),
            (Prepared(torch.zeros(3, 8, 8)), "a cat", r"must hold floats of the shape \(3, 64, 64\)"),
            (Prepared(torch.full((3, 64, 64), torch.nan)), "a cat", "not finite"),
            (PICTURE, 3, "the text must be a string, not a number"),
            (PICTURE, ["a cat"], "the text must be a string, not a list"),
        ],
    )
    def test_other_types_are_said_in_a_sentence(self, session: Session, image: Any, text: Any, said: str) -> None:
        for method in (session.detect, session.score_long):
            with pytest.raises(ClipalignError, match=f"(?s){said}"):
                method(image, text)

    def test_what_is_no_pair_or_label_is_said_in_a_sentence(self, session: Session) -> None:
        pair: Any
        for pair in (5, "a cat", (PICTURE,)):
            with pytest.raises(UsageError, match="a pair must be an image and a text"):
                session.detect_many([pair])
        labels: Any = [1, 2]
        with pytest.raises(UsageError, match="labels must be a list, not float"):
            session.classify(PICTURE, 0.5)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="each of labels must be a string, not int"):
            session.classify(PICTURE, labels)
        for image in (np.zeros((8, 8, 4), np.uint8), session.preprocess(PICTURE)):
            with pytest.raises(ImageUnreadable, match=r"has the shape|crops"):
                session.classify(image, ["cat", "dog"])

    def test_is_offline_when_told(self, session: Session) -> None:
        with pytest.raises(ImageUnreadable, match="offline"):
            Session(session.loaded, offline=True).detect("https://example.org/a.png", "a red car")

    @pytest.mark.parametrize("method", ["detect", "classify"])
    def test_waits_for_an_address_as_long_as_told(
        self, session: Session, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        monkeypatch.setenv("NO_PROXY", "*")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}/a.png"
            patient = Session(session.loaded, timeout=0.3)
            with pytest.raises(ImageUnreadable, match=r"did not answer within 0\.3 s"):
                patient.detect(address, "a car") if method == "detect" else patient.classify(
                    address, ["a car", "a cup"]
                )

    def test_a_timeout_out_of_its_range(self) -> None:
        with pytest.raises(UsageError, match=r"timeout must be a number from 0\.1 to 3600"):
            load("pictogram", timeout=0)

    def test_a_string_is_no_list_of_references(self, session: Session) -> None:
        text: Any = "a cup"
        pairs: list[Any] = [(PICTURE, "a car", text), clipalign.Pair(PICTURE, "a car", references=text)]
        for pair in pairs:
            with pytest.raises(InputUnreadable, match="the references must be a list of strings"):
                session.detect_many([pair])
        assert session.detect(PICTURE, "a car", references=None).references == ()

    def test_a_pair_is_opened_as_a_tuple_is(self, session: Session) -> None:
        with pytest.raises(ImageUnreadable, match="offline"):
            Session(session.loaded, offline=True).detect_many([clipalign.Pair("http://localhost/a.png", "a car")])
        content: Any = PICTURE.read_bytes()
        pair, plain = session.detect_many([clipalign.Pair(content, "a car"), (content, "a car")])
        assert pair.cosine == pytest.approx(plain.cosine, abs=1e-6)  # rows of a batch round differently


class TestStreams:
    def test_a_pair_that_cannot_be_scored_costs_itself_alone(self, session: Session) -> None:
        image = Image.open(PICTURE)
        row = {"image": image, "text": "a car", "id": "row"}
        pairs: list[Any] = [(image, "a car"), ("none.png", "a car"), 5, (image, ""), row, (None, "a car"), (image, 3)]
        done: list[int] = []
        found = list(session.detect_iter(pairs, on_progress=done.append))
        assert [isinstance(one, Failure) for one in found] == [False, True, True, True, False, True, True]
        assert [one.id for one in found] == ["1", "none.png", "3", "4", "row", "6", "7"]
        assert done == [1, 2, 3, 4, 5, 6, 7]
        assert found[4].to_dict()["cosine"] == pytest.approx(found[0].to_dict()["cosine"], abs=1e-6)

    def test_the_first_error_ends_it_where_that_is_asked_for(self, session: Session) -> None:
        stream = session.detect_iter([(PICTURE, "a car"), ("none.png", "a car")], on_error="fail")
        assert isinstance(next(stream), DetectResult)
        with pytest.raises(ImageUnreadable, match=r"there is no file none\.png"):
            next(stream)

    def test_what_the_callers_iterator_raises_comes_after_the_results_before_it(self, session: Session) -> None:
        def pairs() -> Iterator[tuple[Path, str]]:
            yield PICTURE, "a car"
            raise LookupError("mine")

        stream = session.detect_iter(pairs())
        assert isinstance(next(stream), DetectResult)
        with pytest.raises(LookupError, match="mine"):
            next(stream)

    def test_other_methods_stream_too(self, session: Session) -> None:
        images: list[Any] = [PICTURE, "none.png", {"image": PICTURE, "id": "x"}]
        assert [one.id for one in session.classify_iter(images, ["cat", "dog"])] == [str(PICTURE), "none.png", "x"]
        texts: list[Any] = [(PICTURE, "A cat. A dog."), ("none.png", "A cat.")]
        long, lost = session.score_long_iter(texts)
        assert isinstance(long, LongResult) and isinstance(lost, Failure)

    def test_pictures_of_the_callers_are_told_apart_though_they_share_an_address(self, session: Session) -> None:
        """Each picture is gone before the next is made, and may get its place in memory, and so its id."""

        def pairs() -> Iterator[tuple[Image.Image, str]]:
            for red in range(0, 250, 10):
                yield Image.new("RGB", (32, 32), (red, 0, 0)), "a car"
                gc.collect()

        ones = [session.detect(Image.new("RGB", (32, 32), (red, 0, 0)), "a car").cosine for red in range(0, 250, 10)]
        many = [one.to_dict()["cosine"] for one in session.detect_iter(pairs(), batch_size=2)]
        assert many == pytest.approx(ones, abs=1e-6)

    def test_a_buffer_that_is_filled_anew_is_another_picture(self, session: Session) -> None:
        def pairs() -> Iterator[tuple[Any, str]]:
            buffer = np.zeros((32, 32, 3), np.uint8)
            for red in (0, 250):
                buffer[..., 0] = red
                yield buffer, "a car"

        first, second = (one.to_dict()["cosine"] for one in session.detect_iter(pairs()))
        assert abs(first - second) > 1e-6

    def test_an_image_whose_file_is_closed_at_once(self, session: Session) -> None:
        def pairs() -> Iterator[tuple[Image.Image, str]]:
            for _ in range(3):
                with Image.open(PICTURE) as image:
                    yield image, "a car"

        assert all(isinstance(one, DetectResult) for one in session.detect_iter(pairs()))

    @pytest.mark.parametrize("items", ["a.png", {"image": PICTURE, "text": "a car"}])
    def test_one_pair_is_no_list(self, session: Session, items: Any) -> None:
        with pytest.raises(UsageError, match="is no list"):
            session.detect_iter(items)

    def test_another_way_with_errors(self, session: Session) -> None:
        with pytest.raises(UsageError, match="on_error must be skip or fail"):
            session.detect_iter([], on_error="ignore")  # type: ignore[arg-type]


class TestVectors:
    def test_of_pictures_and_texts_are_those_that_detect_compares(self, session: Session) -> None:
        cosine = session.encode_images(PICTURE) @ session.encode_texts("A photo depicts a red car").T
        assert float(cosine) == pytest.approx(session.detect(PICTURE, "a red car").cosine, abs=1e-6)

    def test_lists_and_batches(self, session: Session) -> None:
        batch = torch.rand(3, 3, 40, 40)
        prepared = Prepared(torch.stack([session.preprocess(one).tensor for one in batch]))
        vectors = session.encode_images(batch, batch_size=2)
        assert vectors.shape == (3, 64) and torch.allclose(vectors.norm(dim=-1), torch.ones(3))
        for same in (prepared, list(batch), iter(batch)):
            assert torch.allclose(session.encode_images(same), vectors, atol=1e-6)
        assert session.encode_texts(["a", "b"]).shape == (2, 64)
        for nothing in (session.encode_images, session.encode_texts):
            with pytest.raises(UsageError, match="there are no"):
                nothing([])

    def test_moved_to_a_device(self) -> None:
        session = load("pictogram", device="cpu")
        assert session.to("cpu") is session and session.loaded.choice.reason.startswith("cpu as asked")
        with pytest.raises(DeviceUnavailable):
            session.to("cuda:99")


@settings(max_examples=50)
@given(st.integers(0, 255))
def test_floats_that_were_bytes_are_those_bytes_again(value: int) -> None:
    tensor = torch.full((3, 1, 1), value, dtype=torch.uint8)
    assert image_of(tensor / 255).getpixel((0, 0)) == image_of(tensor).getpixel((0, 0)) == (value,) * 3


@pytest.mark.parametrize(
    ("keywords", "kind"),
    [
        (keywords.DetectKeywords, DetectSettings),
        (keywords.ClassifyKeywords, ClassifySettings),
        (keywords.LongKeywords, LongSettings),
    ],
)
def test_keywords_for_checkers_of_types_are_the_settings(keywords: type, kind: type[Any]) -> None:
    def widened(hint: Any) -> Any:
        """A choice of texts as ``str``, as the classes have it; its texts are those that are declared."""
        inner = get_args(hint) if isinstance(hint, UnionType) or get_origin(hint) is Union else (hint,)
        return {str if get_origin(one) is Literal else one for one in inner}

    read_from_file = {"calibration": {str, PathLike[str]}}
    found, wanted = get_type_hints(keywords), get_type_hints(kind)
    assert list(found) == [field.name for field in fields(kind)]
    for name, hint in found.items():
        assert widened(hint) == widened(wanted[name]) | read_from_file.get(name, set()), name
        texts = [text for one in (hint, *get_args(hint)) if get_origin(one) is Literal for text in get_args(one)]
        assert not texts or tuple(texts) == declared(kind)[name].choices, name
