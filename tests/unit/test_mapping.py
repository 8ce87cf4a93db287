"""Methods over batches of columns: every kind of batch, and rows that cannot be scored."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import DeviceUnavailable, ImageUnreadable, UsageError
from clipalign.mapping import COLUMNS, Mapper, mapper
from clipalign.session import load
from tests.cli.run import ROOT

PICTURE = str(ROOT / ".assets" / "examples" / "images" / "fruit.png")
BATCH = {"image": [PICTURE, "none.png"], "caption": ["a pear", "a pear"], "number": [1, 2]}


@pytest.fixture(scope="module")
def detect() -> Mapper:
    return mapper("detect", model="pictogram", columns={"text": "caption"})


def test_columns_come_along_and_scores_are_those_of_detect(detect: Mapper) -> None:
    scored = detect(BATCH)
    alone = load("pictogram").detect(PICTURE, "a pear")
    assert list(scored) == [*BATCH, *COLUMNS["detect"], "error"] and scored["number"] == [1, 2]
    assert scored["cosine"][0] == pytest.approx(alone.cosine, abs=1e-6) and scored["cosine"][1] is None
    assert scored["attributions"][0] == pytest.approx([word.attribution for word in alone.words], abs=1e-6)
    assert scored["misaligned"] == [list(alone.misaligned), None]
    assert scored["error"] == [None, "there is no file none.png"]


def test_it_travels_light(detect: Mapper) -> None:
    detect(BATCH)
    content = pickle.dumps(detect)
    assert len(content) < 500 and pickle.loads(content) == detect


def test_iterators_of_batches(detect: Mapper) -> None:
    found = detect(iter([BATCH, BATCH]))
    assert next(found)["misaligned"][0] == next(found)["misaligned"][0] == ["pear"]


@pytest.mark.parametrize(
    ("method", "settings", "filled"),
    [
        ("classify", {"labels": ["an apple", "a car"], "method": "clip"}, "label"),
        ("score-long", {"by": "phrase"}, "contributions"),
    ],
)
def test_other_methods(method: Any, settings: dict[str, Any], filled: str) -> None:
    scored = mapper(method, model="pictogram", columns={"text": "caption"}, **settings)(BATCH)
    assert scored[filled][0] and scored[filled][1] is None and list(scored)[3:] == [*COLUMNS[method], "error"]


def test_tables_of_arrow_have_their_types_though_everything_failed(detect: Mapper) -> None:
    arrow: Any = pytest.importorskip("pyarrow")
    scored = detect(arrow.table(BATCH).slice(1))
    assert scored.schema.field("cosine").type == arrow.float64()
    assert scored.select(detect.arrow_schema.names).schema == detect.arrow_schema
    assert detect(scored).column_names == scored.column_names
    assert detect.schema.startswith("cosine double, ") and detect.schema.endswith("error string")


def test_frames_of_pandas(detect: Mapper) -> None:
    pandas: Any = pytest.importorskip("pandas")
    scored = detect(pandas.DataFrame(BATCH))
    assert next(iter(scored["misaligned"])) == ["pear"] and scored["cosine"].isna().tolist() == [False, True]


def test_what_cannot_be(detect: Mapper, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)no column caption.*columns=.*it has image, text"):
        detect({"image": [PICTURE], "text": ["a pear"]})
    with pytest.raises(UsageError, match="different lengths: image 2, caption 1"):
        detect(BATCH | {"caption": ["a pear"]})
    with pytest.raises(UsageError, match="columns must be names by name"):
        mapper("detect", columns="text=caption")  # type: ignore[arg-type]
    with pytest.raises(DeviceUnavailable, match="cuda"):
        mapper("detect", model="pictogram", device=["cuda"])({"image": [PICTURE], "text": ["a pear"]})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="model must be a name, not dict"):
        mapper("detect", model={"name": "pictogram"})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="method must be detect or classify or score-long"):
        mapper("score_long")  # type: ignore[arg-type]
    with pytest.raises(ImageUnreadable, match=r"none\.png"):
        mapper("detect", model="pictogram", columns={"text": "caption"}, on_error="fail")(BATCH)
    with pytest.raises(UsageError, match="detect has no setting labels"):
        mapper("detect", model="pictogram", columns={"text": "caption"}, labels=["a"])(BATCH)
