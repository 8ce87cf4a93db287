"""A sweep: the same numbers as runs alone, pictures and attributions computed once, what cannot be swept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import UsageError
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.sweep import combinations, folder_names, read_axes, run_sweep
from clipalign.evaluation.tasks import pictograms, words
from clipalign.evaluation.tasks.pictograms import PictogramClassify, PictogramFoil
from clipalign.methods import classify
from clipalign.methods.detect import detect_each
from clipalign.models import encode as encoder
from clipalign.models.model import LoadedModel
from clipalign.output.eval import sweep_record, sweep_table
from tests.tiny import hashed, load_random, load_tiny
from tests.word_datasets import word_set, write_nocaps

pytestmark = pytest.mark.usefixtures("few_draws")

AXES: dict[str, list[object]] = {
    "layers": [1, 3],
    "mode": ["threshold", "most-negative"],
    "epsilon": [-1e-4, 0.0],
}


def load(model: str) -> LoadedModel:
    return load_random("siglip") if model == "siglip" else load_tiny()


def test_axes_are_read_and_checked_like_the_settings_they_are() -> None:
    assert read_axes(["layers=1, 3", "epsilon=-1e-5,-5e-5", "layers=12,3"]) == {
        "layers": [1, 3, 12],
        "epsilon": [-1e-5, -5e-5],
    }
    assert read_axes(["template=A photo, of ", "template="]) == {"template": ["A photo, of ", ""]}


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("layer=1", "sweep wants NAME=VALUE,VALUE, not 'layer=1'"),
        ("layers", "sweep wants NAME=VALUE,VALUE"),
        ("seed=1,2", "sweep wants NAME=VALUE,VALUE"),
        ("layers=1,x", "sweep layers must be a whole number, 1 or more, not 'x'"),
        ("mode=loud", "sweep mode must be threshold or most-negative"),
    ],
)
def test_axes_that_are_none_are_refused(sweep: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_axes([sweep])
    assert said in caught.value.message


def test_combinations_turn_the_cheapest_setting_fastest() -> None:
    found = list(combinations({"epsilon": [1, 2], "model": ["a", "b"], "layers": [3]}))
    assert found == [
        {"model": "a", "layers": 3, "epsilon": 1},
        {"model": "a", "layers": 3, "epsilon": 2},
        {"model": "b", "layers": 3, "epsilon": 1},
        {"model": "b", "layers": 3, "epsilon": 2},
    ]
    modes: dict[str, list[object]] = {"mode": ["threshold", "most-negative"], "epsilon": [1, 2]}
    assert list(combinations(modes)) == [
        {"mode": "threshold", "epsilon": 1},
        {"mode": "threshold", "epsilon": 2},
        {"mode": "most-negative"},
    ]
    assert folder_names([{"model": "a/b c@d.pt", "epsilon": -1e-5}]) == ["model=a-b-c@d.pt_epsilon=-1e-05"]


def test_values_that_differ_in_what_no_folder_is_called_have_folders_of_their_own(tmp_path: Path) -> None:
    templates: list[object] = ["A photo of ", "A photo-of ", "An image of "]
    swept = run_sweep([PictogramFoil()], load, EvalSettings(limit=2, output=tmp_path), {"template": templates})
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert folders[2] == "template=An-image-of-"
    assert all(re.fullmatch("template=A-photo-of--[0-9a-f]{8}", folder) for folder in folders[:2])
    results = [json.loads((tmp_path / folder / "result.json").read_text()) for folder in folders]
    assert {result["settings"]["template"] for result in results} == set(templates)
    again = run_sweep(
        [PictogramFoil()], load, EvalSettings(limit=2, output=tmp_path, resume=True), {"template": templates[::-1]}
    )
    assert [one.result for one in again[::-1]] == [one.result for one in swept]


def test_every_combination_gives_what_a_run_alone_gives(tmp_path: Path) -> None:
    data = write_nocaps(tmp_path / "data")
    swept = run_sweep([word_set("nocaps-foil", data)], load, EvalSettings(), AXES)
    assert len(swept) == 6  # mode most-negative has no epsilon
    for one in swept:
        alone = run_benchmark(word_set("nocaps-foil", data), load_tiny(), EvalSettings(**one.values))  # type: ignore[arg-type]
        assert alone is not None
        assert one.result.settings == alone.settings
        assert {metric.name: metric.value for metric in one.result.metrics} == pytest.approx(
            {metric.name: metric.value for metric in alone.metrics}, abs=1e-6
        )


def test_pictures_are_encoded_once_a_model_and_captions_once_for_all_thresholds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures: list[int] = []
    captions: list[int] = []
    monkeypatch.setattr(encoder, "_unit_or_error", _counting(pictures, encoder._unit_or_error))
    monkeypatch.setattr(words, "detect_each", _counting(captions, detect_each))
    run_sweep([PictogramFoil()], load, EvalSettings(limit=12), AXES)
    assert sum(pictures) == 6  # two captions a picture
    assert captions == [12, 12]  # with one layer and with three


def test_scales_and_draws_of_wca_are_swept_over_crops_that_are_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictograms, "POOL_CROPS", 4)
    encoded: list[int] = []
    monkeypatch.setattr(classify, "encode_images", _counting(encoded, encoder.encode_images))

    def named(model: str) -> LoadedModel:
        return hashed(load_tiny())

    axes = read_axes(["image-logscale=0,4", "crops=2,4", "text_logscale=2", "alpha=0.5,0.7"])
    settings = EvalSettings(limit=3, method="wca", cache_dir=tmp_path, batch_size=5)
    swept = run_sweep([PictogramClassify()], named, settings, axes)
    assert len(encoded) == 2 * 3  # a batch a picture with its crops, for each alpha
    told = ("alpha", "crops", "text_logscale", "image_logscale")
    assert [tuple(one.result.settings[name] for name in told) for one in swept] == [
        tuple(one.values[name] for name in told) for one in swept
    ]
    assert len({tuple(one.values.values()) for one in swept}) == 8


def _counting(counts: list[int], inner: Any) -> Any:
    def counted(loaded: LoadedModel, what: Any, *more: Any) -> Any:
        counts.append(len(what))
        return inner(loaded, what, *more)

    return counted


def test_runs_have_folders_of_their_own_and_can_be_resumed(tmp_path: Path) -> None:
    settings = EvalSettings(limit=12, output=tmp_path)
    axes: dict[str, list[object]] = {"layers": [1, 2]}
    first = run_sweep([PictogramFoil()], load, settings, axes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layers=1", "layers=2"]
    assert json.loads((tmp_path / "layers=2" / "result.json").read_text())["settings"]["layers"] == 2
    (tmp_path / "layers=2" / "samples.jsonl").write_text("")
    again = run_sweep([PictogramFoil()], load, EvalSettings(limit=12, output=tmp_path, resume=True), axes)
    assert [one.result for one in again] == [one.result for one in first]


def test_models_are_swept_on_any_benchmark_and_settings_of_detect_only_where_they_mean_something() -> None:
    found = run_sweep([PictogramFoil()], load, EvalSettings(limit=4), {"model": ["tiny", "siglip"]})
    assert [one.result.model for one in found] == ["tiny-clip", "siglip"]
    with pytest.raises(UsageError, match="pictogram-classify makes no use of epsilon"):
        run_sweep([PictogramClassify()], load, EvalSettings(limit=2), {"epsilon": [0.0]})


def test_table_and_json_show_a_row_a_combination() -> None:
    rows = [(one.values, one.result) for one in run_sweep([PictogramFoil()], load, EvalSettings(limit=20), AXES)]
    page = sweep_table(rows)
    assert max(map(len, page.splitlines())) <= 80
    assert "pictogram-foil: 6 runs, 20 samples" in page
    assert "note: columns that do not fit the terminal: " in page
    assert "precision" in page.split("\n\n")[1]
    assert sum(line.lstrip().startswith(("1 ", "3 ")) for line in page.splitlines()) == 6
    record: Any = sweep_record(rows)
    assert record["swept"] == ["layers", "mode", "epsilon"]
    assert [run["swept"]["layers"] for run in record["runs"]] == [1, 1, 1, 3, 3, 3]
    assert "la" in record["runs"][0]["metrics"]
