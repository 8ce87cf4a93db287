"""The Python interface: public names, pictures from anywhere, settings that reach the computation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

import clipalign
from clipalign.data import sources as image_bytes
from clipalign.data.images import open_image
from clipalign.data.transforms import to_tensor
from clipalign.errors import DeviceUnavailable, ImageUnreadable, UnknownModel, UsageError
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
        prepared = to_tensor(open_image(PICTURE), session.loaded)
        image = Image.open(PICTURE)
        sources: list[str | bytes | Path | Image.Image | Tensor]
        sources = [PICTURE, str(PICTURE), PICTURE.read_bytes(), image, prepared]
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
            session.detect(PICTURE, "a red car", epsilom=0.0)
        assert "epsilon" in caught.value.hint

    def test_many_pairs_read_each_picture_once(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[object] = []

        noted = noting(image_bytes._read, lambda source, *_, **__: read.append(source))
        monkeypatch.setattr(image_bytes, "_read", noted)
        content = PICTURE.read_bytes()
        pairs = [(PICTURE, "a red car"), (content, "a cup"), (PICTURE, "a blue car", ["a car"]), (content, "a car")]
        results = session.detect_many([*pairs, clipalign.Pair(Image.open(PICTURE), "a cup", id="last")])
        assert sorted(read, key=str) == sorted([PICTURE, content], key=str)
        assert [result.text for result in results] == ["a red car", "a cup", "a blue car", "a car", "a cup"]
        assert results[2].references == ("a car",) and results[4].id == "last"
        assert session.detect_many([]) == []

    @pytest.mark.parametrize(
        ("image", "text", "said"),
        [
            (np.zeros((8, 8, 3), np.uint8), "a cat", "an image must be .* not ndarray"),
            (None, "a cat", "an image must be .* not NoneType"),
            (PICTURE, 3, "the text must be a string, not int"),
            (PICTURE, ["a cat"], "the text must be a string, not list"),
        ],
    )
    def test_other_types_are_said_in_a_sentence(self, session: Session, image: Any, text: Any, said: str) -> None:
        for method in (session.detect, session.score_long):
            with pytest.raises(UsageError, match=said):
                method(image, text)

    def test_what_is_no_pair_or_label_is_said_in_a_sentence(self, session: Session) -> None:
        pair: Any
        for pair in (5, "a cat", (PICTURE,)):
            with pytest.raises(UsageError, match="a pair must be an image and a text"):
                session.detect_many([pair])
        labels: Any = [1, 2]
        with pytest.raises(UsageError, match="each of labels must be a string, not int"):
            session.classify(PICTURE, labels)
        array: Any = np.zeros((8, 8, 3), np.uint8)
        with pytest.raises(UsageError, match="an image must be"):
            session.classify(array, ["cat", "dog"])

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
            with pytest.raises(UsageError, match="list of captions") as caught:
                session.detect_many([pair])
            assert caught.value.hint == "references=['a cup']"
        assert session.detect(PICTURE, "a car", references=None).references == ()

    def test_a_pair_is_opened_as_a_tuple_is(self, session: Session) -> None:
        with pytest.raises(ImageUnreadable, match="offline"):
            Session(session.loaded, offline=True).detect_many([clipalign.Pair("http://localhost/a.png", "a car")])
        content: Any = PICTURE.read_bytes()
        pair, plain = session.detect_many([clipalign.Pair(content, "a car"), (content, "a car")])
        assert pair.cosine == plain.cosine
