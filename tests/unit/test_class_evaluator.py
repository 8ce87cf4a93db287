"""Classes: ranks and draws against hand-worked numbers, kept crops, resumption, and the world of pictograms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812

from clipalign.data.class_texts import class_texts
from clipalign.data.classes import Classes
from clipalign.errors import ClipalignError, ImageUnreadable, UsageError
from clipalign.eval_results import EvalResult
from clipalign.evaluation.dataset_files import open_picture
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks import class_evaluator, pictograms
from clipalign.evaluation.tasks.class_evaluator import (
    DRAWS,
    ClassEvaluator,
    ClassOutcome,
    ClassSample,
    ClassTask,
)
from clipalign.evaluation.tasks.classes import ClassBenchmark, FoundPicture, class_metrics
from clipalign.evaluation.tasks.pictograms import LABELS, PARTS, PictogramClassify, compose, task
from clipalign.methods.classify import make_classifier
from clipalign.methods.settings import ClassifySettings
from clipalign.models.encode import EncodedPicture
from clipalign.pictogram.scenes import KINDS, scene_random
from tests.tiny import hashed, load_tiny

NAMES = ("cat", "dog", "fish")
DESCRIBED = Classes(NAMES, {name: (f"a {name} with a tail.", f"the {name} of a friend.") for name in NAMES})
TASK = ClassTask(NAMES, {"clip": Classes(NAMES), "cupl": DESCRIBED, "wca": DESCRIBED})


def ranked(ident: str, part: str = "", **ranks: tuple[int, ...]) -> ClassOutcome:
    by_method = {name.replace("_", "-"): value for name, value in ranks.items()}
    return ClassOutcome(ident, ident, 0, "cat", part, {}, by_method)


def measured(outcomes: list[ClassOutcome], **more: Any) -> dict[str, float]:
    return {metric.name: metric.value for metric in class_metrics(outcomes, classes=10, seed=0, **more)}


def evaluator_for(tmp_path: Path, task: ClassTask = TASK, *, pool: int = 4, **settings: Any) -> ClassEvaluator:
    loaded = hashed(load_tiny())
    return ClassEvaluator(loaded, EvalSettings(cache_dir=tmp_path, crops=3, **settings), task, pool=pool)


def scored(evaluator: ClassEvaluator, *samples: ClassSample) -> list[ClassOutcome]:
    found = evaluator.score(samples)
    assert not any(isinstance(one, ClipalignError) for one in found)
    return [one for one in found if isinstance(one, ClassOutcome)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "pictures" / "a.png"
    path.parent.mkdir()
    Image.effect_mandelbrot((90, 70), (-2, -1, 1, 1), 20).convert("RGB").save(path)
    return path


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_top1_top5_draws_and_gains_worked_out_by_hand() -> None:
    outcomes = [
        ranked("a", clip=(0,), cupl=(1,), wca_whole=(0,), wca=(0, 0)),
        ranked("b", clip=(7,), cupl=(4,), wca_whole=(0,), wca=(0, 5)),
    ]
    metrics = measured(outcomes)
    assert metrics["top1_clip"] == 0.5
    assert metrics["top1_cupl"] == 0.0
    assert metrics["top1_wca"] == 0.75  # the mean of 1.0 and 0.5, its two draws
    assert metrics["top1_wca_std"] == 0.25
    assert metrics["top5_clip"] == 0.5
    assert metrics["top5_cupl"] == 1.0
    assert metrics["top5_wca"] == 0.75
    assert metrics["gain_wca_over_clip"] == 0.25
    assert metrics["gain_wca_over_cupl"] == 0.75
    assert metrics["gain_of_crops"] == -0.25
    assert "top1_waffle" not in metrics


def test_a_gain_has_the_interval_of_paired_differences() -> None:
    outcomes = [ranked(str(n), clip=(n % 2,), wca=(n % 2,) * 3) for n in range(50)]
    gain = {metric.name: metric for metric in class_metrics(outcomes, classes=10, seed=0)}["gain_wca_over_clip"]
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_a_part_shows_what_it_is_compared_by_and_chance_is_one_in_all_classes() -> None:
    metrics = class_metrics([ranked("a", clip=(0,), waffle=(0,), wca=(1, 0))], classes=4, seed=0, part="small")
    assert [metric.name for metric in metrics] == ["top1_clip_small", "top1_wca_small", "gain_wca_over_clip_small"]
    assert metrics[0].chance == 0.25


# --- the evaluator ---------------------------------------------------------------------------------------------------


def test_without_crops_drawn_at_random_the_evaluator_says_what_classify_says(tmp_path: Path, place: Path) -> None:
    outcome = scored(evaluator_for(tmp_path), ClassSample("1", place, "a.png", 1))[0]
    for method, classes in TASK.by_method.items():
        settings = ClassifySettings(method=method, top=3)
        result = make_classifier(load_tiny(), classes, settings).classify(Image.open(place).convert("RGB"))
        best = [one.name for one in result.classes]
        if method != "wca":
            assert outcome.ranks[method] == (best.index("dog"),)
            assert outcome.predicted[method] == best[0]
    assert len(outcome.ranks["wca"]) == DRAWS
    assert len(outcome.ranks["wca-whole"]) == 1


def test_a_crop_drawn_twice_weighs_twice(tmp_path: Path, place: Path) -> None:
    evaluator = evaluator_for(tmp_path)
    sample = ClassSample("1", place, "a.png", 1)
    picture = evaluator.pictures([sample])[place]
    assert isinstance(picture, EncodedPicture)
    features = picture.vectors
    assert features.shape[0] == 1 + 4
    drawn = evaluator._drawn_pictures(sample, features)
    assert drawn.shape == (DRAWS, features.shape[1])
    # The same draws, as lists of crops instead of counts.
    import hashlib

    import numpy as np

    digest = hashlib.sha256(b"0 draws 1").digest()
    chosen = np.random.default_rng(int.from_bytes(digest[:16], "big")).integers(0, 4, (DRAWS, 3))
    assert any(len(set(row)) < 3 for row in chosen.tolist())
    for row, ours in zip(chosen, drawn, strict=True):
        crops = features[1:][torch.from_numpy(row)]
        weights = torch.softmax(torch.tensor(4.0).exp() * (crops @ features[0]), dim=0)
        assert torch.allclose(ours, F.normalize(weights @ crops, dim=-1), atol=1e-5)


def test_ranks_count_better_classes_and_ties_go_to_the_first_of_a_name(tmp_path: Path) -> None:
    names = ("cat", "dog", "dog")
    evaluator = evaluator_for(tmp_path, ClassTask(names, {"clip": Classes(names)}))
    scores = torch.tensor([[0.5, 0.7]])[:, evaluator._rows["clip"]]  # of the two distinct names
    assert evaluator._ranked(scores, 0) == ((2,), "dog")
    assert evaluator._ranked(scores, 1) == ((0,), "dog")
    assert evaluator._ranked(scores, 2) == ((1,), "dog")


def test_a_picture_that_cannot_be_read_leaves_the_others_as_they_were(tmp_path: Path, place: Path) -> None:
    good, bad = ClassSample("1", place, "a.png", 1), ClassSample("2", tmp_path / "no.png", "no.png", 1)
    for method in (None, "clip"):
        alone = evaluator_for(tmp_path, method=method).score([good])
        first, error, again = evaluator_for(tmp_path, method=method).score([good, bad, good])
        assert [first] == alone
        assert isinstance(error, ImageUnreadable)
        assert again == first


def test_one_method_alone_makes_no_crops_and_one_that_is_not_there_is_refused(tmp_path: Path, place: Path) -> None:
    evaluator = evaluator_for(tmp_path, method="cupl")
    outcome = scored(evaluator, ClassSample("1", place, "a.png", 1))[0]
    assert list(outcome.ranks) == ["cupl"]
    assert "crops" not in evaluator.provenance.settings
    with pytest.raises(UsageError, match="the method waffle lacks what it needs"):
        evaluator_for(tmp_path, method="waffle")


def test_records_and_outcomes_are_the_same_thing(tmp_path: Path, place: Path) -> None:
    evaluator = evaluator_for(tmp_path)
    outcome = scored(evaluator, ClassSample("1", place, "a.png", 1, "big"))[0]
    record = json.loads(json.dumps(outcome.record()))
    assert record["class"] == "dog"
    assert ClassOutcome.from_record(record, evaluator.provenance) == outcome


def test_seeds_draw_other_crops_and_settings_are_told(tmp_path: Path) -> None:
    settings = evaluator_for(tmp_path, alpha=0.3).provenance.settings
    told = {name: settings[name] for name in ("methods", "crops", "crops_pool", "draws", "alpha", "image_logscale")}
    assert told == {
        "methods": ["clip", "cupl", "wca"],
        "crops": 3,
        "crops_pool": 4,
        "draws": 20,
        "alpha": 0.3,
        "image_logscale": 4.0,
    }


# --- crops that are kept ---------------------------------------------------------------------------------------------


def count_preparations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the pictures that are decoded from now on."""
    opened: list[int] = []

    def counting(*given: Any, **more: Any) -> Image.Image:
        picture = open_picture(*given, **more)
        opened.append(picture.width)
        return picture

    monkeypatch.setattr("clipalign.evaluation.picture_evaluator.open_picture", counting)
    return opened


def test_a_second_run_with_other_scales_decodes_no_picture_and_says_so(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = ClassSample("1", place, "a.png", 1)
    opened = count_preparations(monkeypatch)
    first = scored(evaluator_for(tmp_path), sample)
    again = evaluator_for(tmp_path)
    assert scored(again, sample) == first and not again.notes(first)
    asked = evaluator_for(tmp_path, keep_vectors=1)
    assert scored(asked, sample) == first
    assert "vectors of 1 of 1 images are kept ones (--keep-vectors)" in asked.notes(first)
    scored(evaluator_for(tmp_path, image_logscale=1.0), sample)
    assert opened == [90]
    scored(evaluator_for(tmp_path, keep_vectors=0), sample)
    assert opened == [90, 90]


@pytest.mark.parametrize("changed", [{"seed": 1}, {"alpha": 0.2}, {"protocol": "exif"}, {"pool": 5}])
def test_other_crops_are_made_anew(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    sample = ClassSample("1", place, "a.png", 1)
    opened = count_preparations(monkeypatch)
    scored(evaluator_for(tmp_path), sample)
    scored(evaluator_for(tmp_path, **changed), sample)
    assert opened == [90, 90]


def test_a_file_that_changed_is_another_picture(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = ClassSample("1", place, "a.png", 1)
    opened = count_preparations(monkeypatch)
    scored(evaluator_for(tmp_path), sample)
    Image.new("RGB", (70, 70), "red").save(place)
    scored(evaluator_for(tmp_path), sample)
    assert opened == [90, 70]


# --- a run -----------------------------------------------------------------------------------------------------------


class Few(ClassBenchmark):
    """Three pictures, one of them missing."""

    name = "few"
    size = 3
    pool = 4
    markers = ("a.png",)

    def class_names(self) -> tuple[str, ...]:
        return NAMES

    def found_pictures(self) -> Iterator[FoundPicture]:
        for number, name in enumerate(("a.png", "b.png", "c.png")):
            yield FoundPicture(name, number, self.folder / name)

    def task(self, settings: EvalSettings) -> ClassTask:
        return TASK


def test_a_run_is_the_same_resumed_and_counts_what_is_missing(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_evaluator, "CROPPED_CHUNK", 1)
    Image.new("RGB", (70, 70), "red").save(place.with_name("b.png"))
    output = tmp_path / "run"

    def run(**more: Any) -> EvalResult:
        settings = EvalSettings(cache_dir=tmp_path, crops=3, output=output, **more)
        result = run_benchmark(Few(place.parent), load_tiny(), settings)
        assert result is not None
        return result

    whole = run()
    assert whole.counts == {"samples": 2, "unreadable": 1}
    content = (output / "samples.jsonl").read_bytes()
    (output / "samples.jsonl").write_bytes(content[:-20])
    assert run(resume=True) == whole
    assert (output / "samples.jsonl").read_bytes() == content


# --- pictograms ------------------------------------------------------------------------------------------------------


def test_every_scene_holds_its_class_once_in_its_size_and_no_other_class() -> None:
    for number, part in enumerate([*PARTS] * 10):
        rng = scene_random("test", number)
        kind = LABELS[rng.randrange(len(LABELS))]
        scene = compose(rng, kind, part)
        assert [group.size for group in scene.groups if group.kind == kind] == [PARTS[part][0]]
        others = [group for group in scene.groups if group.kind != kind]
        assert len(others) >= 1
        assert all(group.size in PARTS[part][1] and group.kind not in LABELS for group in others)


def picture_bytes(sample: ClassSample) -> bytes:
    return open_picture(sample.image).tobytes()


def test_pictogram_samples_are_decided_by_the_seed_and_parts_take_turns() -> None:
    def listed(limit: int, seed: int) -> list[tuple[str, int, bytes]]:
        return [(s.id, s.label, picture_bytes(s)) for s in PictogramClassify().samples(limit=limit, seed=seed)]

    assert listed(6, 0) == listed(6, 0)
    assert listed(5, 0) == listed(6, 0)[:5]
    assert not set(listed(6, 0)) & set(listed(6, 1))
    samples = list(PictogramClassify().samples(limit=6, seed=0))
    assert [sample.part for sample in samples] == [*PARTS, *PARTS]
    assert len({picture_bytes(sample) for sample in samples}) == 6


def test_descriptions_are_in_the_models_own_words_and_always_the_same() -> None:
    vocabulary = set((Path(pictograms.__file__).parents[2] / "pictogram" / "vocabulary.txt").read_text().split())
    classes = task()
    assert classes.names == tuple(KINDS[label].name for label in LABELS)
    assert len(set(classes.names)) == len(LABELS) == 116
    assert task().by_method["wca"] == classes.by_method["wca"]
    for method in ("clip", "clip-e", "cupl", "wca"):
        for one in class_texts(classes.by_method[method], method=method):
            words = {word.strip(".,").lower() for text in one.texts for word in text.split()}
            assert words <= vocabulary
    assert all(len(sentences) == 24 for sentences in (classes.by_method["wca"].descriptions or {}).values())


def test_pictogram_classify_runs_and_measures_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = task()
    described = whole.by_method["wca"].descriptions or {}
    short = Classes(whole.names, {name: sentences[:1] for name, sentences in described.items()})
    few = ClassTask(whole.names, {"clip": whole.by_method["clip"], "wca": short})
    monkeypatch.setattr(pictograms, "task", lambda: few)
    monkeypatch.setattr(pictograms, "POOL_CROPS", 3)
    settings = EvalSettings(limit=3, crops=2, cache_dir=tmp_path)
    result = run_benchmark(PictogramClassify(), load_tiny(), settings)
    assert result is not None
    metrics = {metric.name for metric in result.metrics}
    assert {"top1_wca", "top5_clip", "gain_of_crops", "gain_of_crops_small", "top1_wca_whole_large"} <= metrics
