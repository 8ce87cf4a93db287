"""Captions that grow: both countings by hand and as the original counts, sDCI in its real layout, pictograms."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipalign
from clipalign.errors import MissingDataset, UsageError
from clipalign.eval_results import EvalResult
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.increments import (
    IncrementOutcome,
    Sdci,
    all_shares,
    published_shares,
)
from clipalign.evaluation.tasks.pictograms import PictogramLong
from clipalign.models.model import LoadedModel
from tests.evaluated import run_benchmark
from tests.tiny import GOLDEN, load_tiny

pyarrow = pytest.importorskip("pyarrow")
SPECS = json.loads((GOLDEN / "specs.json").read_text())


def grown(cosines: list[float], negatives: list[float]) -> IncrementOutcome:
    return IncrementOutcome("x", tuple(cosines), tuple(negatives), cut=0)


class TestCountings:
    def test_by_hand(self) -> None:
        sample = grown([0.1, 0.3, 0.2, 0.4, 0.5], [0.2, 0.1, 0.1, 0.5])
        assert all_shares(sample) == pytest.approx((3 / 4, 2 / 4))
        # The row has four, so three differences: up, down, up; wrong details lower the second and the third.
        assert published_shares(sample) == pytest.approx((2 / 3, 2 / 3))

    def test_as_published_cosines_that_are_not_positive_shorten_the_row_and_stay_in_it(self) -> None:
        sample = grown([0.09, -0.24, 0.22, 0.31, 0.26], [0.08, -0.21, 0.2, 0.4, 0.1])
        assert published_shares(sample) == pytest.approx((2 / 3, 2 / 3))  # n = 3: down, up, up; lower, higher, lower
        assert published_shares(grown([0.1, -0.3, 0.2, 0.4], [0.0, 0.0, 0.0])) is None
        assert all_shares(sample) == pytest.approx((2 / 4, 3 / 5))

    def test_models_of_negative_cosines_have_no_published_numbers(self) -> None:
        found = Sdci(Path()).statistics([grown([-0.4, -0.3, -0.2, -0.1], [-0.5, -0.2, -0.3])])
        assert [(one.name, one.value()) for one in found] == [
            ("positive", 1.0),
            ("negative", pytest.approx(2 / 3)),
            ("average", pytest.approx(5 / 6)),
        ]

    def test_a_tie_is_no_rise_and_no_fall(self) -> None:
        assert all_shares(grown([0.2, 0.2], [0.2])) == (0.0, 0.0)

    def test_published_counts_are_those_of_the_original_on_300_rows_of_either_sign(self) -> None:
        rows = json.loads((GOLDEN / "increments.json").read_text())
        assert len(rows) == 300 and sum(expected[0] is None for _, _, *expected in rows) == 50
        for cosines, negatives, *expected in rows:
            shares = published_shares(grown(cosines, negatives))
            assert expected == ([None, None] if shares is None else [np.float32(share) for share in shares])

    def test_the_golden_table(self) -> None:
        for number, table in enumerate(SPECS["similarity_table"]):
            sample = grown([row[0] for row in table] + [0.9], [row[1] for row in table])
            shares = published_shares(sample)
            assert shares is not None
            assert shares.positive == pytest.approx(SPECS["positive_per_image"][number])
            assert shares.negative == pytest.approx(SPECS["negative_per_image"][number])


def save_sdci(folder: Path, rows: list[dict[str, Any]], *, image: Any = None) -> None:
    """As ``datasets`` saves a data set: two Arrow streams, and a state that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    half = (len(rows) + 1) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        names.append(f"data-{number:05}-of-00002.arrow")
        kind = image or pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        texts = pyarrow.list_(pyarrow.string())
        schema = pyarrow.schema(
            [("image", kind), ("captions", texts), ("neg_captions", texts), ("caption", pyarrow.string())]
        )
        table = pyarrow.Table.from_pylist(part, schema=schema)
        with pyarrow.OSFile(str(folder / names[-1]), "wb") as file, pyarrow.ipc.new_stream(file, schema) as stream:
            stream.write_table(table, max_chunksize=1)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "x", "_split": "test"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def golden_rows() -> list[dict[str, Any]]:
    return [
        {
            "image": {"bytes": (GOLDEN / sample["image"]).read_bytes(), "path": None},
            "captions": sample["captions"],
            "neg_captions": sample["neg_captions"],
            "caption": sample["caption"],
        }
        for sample in SPECS["samples"]
    ]


def measured(folder: Path, loaded: LoadedModel | None = None, **settings: Any) -> EvalResult:
    loaded = loaded or clipalign.load(str(GOLDEN / "tiny-longclip.safetensors"), device="cpu").loaded
    return run_benchmark(Sdci(folder), loaded, EvalSettings(**settings))


def values(result: EvalResult) -> dict[str, float]:
    return {metric.name: metric.value for metric in result.metrics}


class TestSdci:
    @pytest.mark.parametrize("place", ["", "test", "test/test"])
    def test_the_golden_counts(self, tmp_path: Path, place: str) -> None:
        save_sdci(tmp_path / place, golden_rows())
        found = values(measured(tmp_path))
        assert found["published_positive"] == pytest.approx(SPECS["positive"])
        assert found["published_negative"] == pytest.approx(SPECS["negative"])
        assert found["published_average"] == pytest.approx((SPECS["positive"] + SPECS["negative"]) / 2)
        assert set(found) == {
            f"{prefix}{name}" for name in ("positive", "negative", "average") for prefix in ("", "published_")
        }

    def test_records_give_the_same_again(self, tmp_path: Path) -> None:
        save_sdci(tmp_path / "data", golden_rows())
        out = tmp_path / "out"
        whole = measured(tmp_path / "data", output=out)
        (out / "result.json").unlink()
        assert measured(tmp_path / "data", output=out, resume=True).metrics == whole.metrics

    def test_images_as_paths_of_another_machine(self, tmp_path: Path) -> None:
        rows = golden_rows()
        (tmp_path / "images").mkdir()
        for number, row in enumerate(rows):
            (tmp_path / "images" / f"{number}.png").write_bytes(row["image"]["bytes"])
            row["image"] = f"/home/somebody/sdci/{number}.png"
        save_sdci(tmp_path / "test", rows, image=pyarrow.string())
        assert values(measured(tmp_path))["published_positive"] == pytest.approx(SPECS["positive"])

    def test_rows_that_cannot_be_used_are_counted(self, tmp_path: Path) -> None:
        rows = golden_rows()
        rows[0]["image"] = {"bytes": b"no picture", "path": None}
        rows.append({**rows[1], "image": {"bytes": None, "path": None}})
        rows.append({**rows[1], "captions": []})
        rows.append({**rows[1], "captions": ["a dog", " ", "a cat"]})
        save_sdci(tmp_path, rows)
        assert measured(tmp_path).counts == {"samples": 2, "unreadable": 4}

    def test_a_model_of_77_tokens_cuts_and_says_so_unless_it_is_stretched(self, tmp_path: Path) -> None:
        save_sdci(tmp_path, golden_rows())
        own, stretched = measured(tmp_path, load_tiny()), measured(tmp_path, load_tiny(), stretch=True)
        assert any("did not fit the model's 77 tokens" in note for note in own.notes)
        assert not any("did not fit" in note for note in stretched.notes)
        assert stretched.settings["context_tokens"] == 248

    def test_data_that_is_not_there_or_damaged(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDataset, match="sdci is not in"):
            Sdci(tmp_path / "nowhere").check()
        save_sdci(tmp_path, golden_rows())
        file = tmp_path / "data-00001-of-00002.arrow"
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(MissingDataset, match=r"breaks off|no Arrow stream"):
            Sdci(tmp_path).check()
        file.unlink()
        with pytest.raises(MissingDataset, match="is not beside it"):
            Sdci(tmp_path).check()
        (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "x" * 300}]}))
        with pytest.raises(MissingDataset, match="is not beside it"):
            Sdci(tmp_path).check()
        (tmp_path / "state.json").write_text("{}")
        with pytest.raises(MissingDataset, match="it lacks '_data_files'"):
            Sdci(tmp_path).check()

    @pytest.mark.parametrize("length", [2**27, -1, 3])
    def test_a_text_that_claims_another_length_is_refused_and_does_not_end_the_process(
        self, tmp_path: Path, length: int
    ) -> None:
        save_sdci(tmp_path, golden_rows())
        file = tmp_path / "data-00000-of-00002.arrow"
        content = file.read_bytes()
        captions = golden_rows()[0]["captions"]
        ends = [sum(len(one.encode()) for one in captions[:count]) for count in range(len(captions) + 1)]
        offsets = struct.pack(f"<{len(ends)}i", *ends)
        assert offsets in content
        file.write_bytes(content.replace(offsets, offsets[:4] + struct.pack("<i", length) + offsets[8:], 1))
        if length == 3:  # another text, and a sound one
            Sdci(tmp_path).check()
            return
        with pytest.raises(MissingDataset, match=r"data-00000-of-00002\.arrow breaks off"):
            Sdci(tmp_path).check()

    def test_published_numbers_stand_beside(self) -> None:
        assert {number.metric for number in Sdci(Path()).published} == {
            f"published_{name}" for name in ("positive", "negative", "average")
        }


class TestPictogramLong:
    def test_the_embedded_model_tells_right_details_from_wrong_ones(self) -> None:
        loaded = clipalign.load("pictogram-long").loaded
        found = values(run_benchmark(PictogramLong(), loaded, EvalSettings(limit=64)))
        assert found["positive"] > 0.6 and found["negative"] > 0.6

    def test_samples_are_the_same_again_and_captions_grow(self) -> None:
        first, second = (list(PictogramLong().samples(limit=5, seed=0)) for _ in range(2))
        for one, other in zip(first, second, strict=True):
            assert not hasattr(one, "error") and one.texts == other.texts
            captions = one.captions
            assert all(after.startswith(before.rstrip(".")) for before, after in pairwise(captions))
        assert [one.id for one in PictogramLong().samples(limit=2, seed=1)] != [one.id for one in first[:2]]

    def test_other_settings_do_not_go_on_with_a_run(self, tmp_path: Path) -> None:
        run_benchmark(PictogramLong(), load_tiny(), EvalSettings(limit=3, output=tmp_path))
        with pytest.raises(UsageError, match="other settings"):
            run_benchmark(
                PictogramLong(), load_tiny(), EvalSettings(limit=3, output=tmp_path, resume=True, stretch=True)
            )
