"""``classify`` as Python programs use it: scores, explanations, seeds, and independence of everything else."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from clipalign.data.classes import Classes
from clipalign.data.in_memory import Prepared
from clipalign.data.records import InputRecord, Place
from clipalign.errors import ImageUnreadable, ModelMismatch, UsageError
from clipalign.methods import classify as route
from clipalign.methods.classify import ClassifyScorer, crop_weights, make_classifier, openai_templates
from clipalign.methods.settings import ClassifySettings
from clipalign.models.class_vectors import describe_class
from clipalign.models.encode import encode_images
from clipalign.models.model import LoadedModel
from clipalign.results import ClassifyResult, CropWeight
from clipalign.runs.batch import run_batch
from clipalign.session import Session
from tests.parity.oracle_wca import wca_score
from tests.spy import noting
from tests.tiny import GOLDEN, load_random, load_tiny

WCA = GOLDEN / "images" / "wca.png"
SMALL = [GOLDEN / "images" / f"{n}.png" for n in range(3)]
ANIMALS = {
    "cat": ("A cat has fur.", "It purrs."),
    "dog": ("A dog barks.", "A dog has fur.", "It fetches a stick."),
    "car": ("A car has wheels.",),
}


def classify(image: Any = WCA, **settings: Any) -> ClassifyResult:
    return Session(load_tiny()).classify(image, **{"descriptions": ANIMALS, "crops": 6, **settings})


def scores(result: ClassifyResult) -> dict[str, float]:
    return {one.name: one.score for one in result.classes}


class TestScores:
    def test_they_are_the_double_sum_of_the_paper(self) -> None:
        result = classify(explain=True)
        picture = Image.open(WCA).convert("RGB")
        crops = [picture.crop(crop.box) for crop in result.crops]
        for name, score in scores(result).items():
            assert score == pytest.approx(wca_score(load_tiny(), picture, crops, name, ANIMALS[name]), abs=1e-6)

    def test_best_first_and_no_more_than_asked_for(self) -> None:
        ordered = [one.score for one in classify().classes]
        assert ordered == sorted(ordered, reverse=True) and len(ordered) == 3
        assert classify(top=1).classes == classify().classes[:1]
        assert len(classify(labels=[f"class {n}" for n in range(9)], descriptions=None).classes) == 5

    def test_equal_scores_keep_the_order_of_the_classes(self) -> None:
        same = {"b": ("It is red.",), "a": ("It is red.",), "c": ("It is red.",)}
        assert [one.name for one in classify(descriptions=same, method="cupl").classes] == ["b", "a", "c"]

    def test_without_descriptions_the_method_is_clip_and_with_them_wca(self) -> None:
        assert classify().method == "wca"
        assert classify(labels=["cat"], descriptions=None).method == "clip"

    @pytest.mark.parametrize("method", ["clip", "clip-e", "clip-d", "waffle", "cupl"])
    def test_baselines_see_the_whole_picture_alone(self, method: str) -> None:
        result = classify(method=method, words=["moss", "tin"], explain=True)
        assert result.crops == (CropWeight((0, 0, 200, 150), 1.0),)
        assert scores(result) == pytest.approx(scores(classify(method=method, words=["moss", "tin"], crops=9)))

    def test_one_class(self) -> None:
        result = classify(labels=["cat"])
        assert [one.name for one in result.classes] == ["cat"]
        assert any("one class alone" in note for note in result.provenance.notes)

    def test_ten_thousand_classes(self) -> None:
        names = [f"{n}" for n in range(10_000)]
        result = classify(labels=names, descriptions=None, template="{}")
        assert len(result.classes) == 5 and result.provenance.settings["classes"] == 10_000

    def test_the_eighty_templates_are_openai_s(self) -> None:
        found = openai_templates()
        assert len(set(found)) == 80 and all("{}" in one for one in found)

    def test_any_tower(self) -> None:
        loaded = load_random("siglip")
        result = make_classifier(loaded, Classes(descriptions=ANIMALS), ClassifySettings(crops=3)).classify(WCA)
        assert len(result.classes) == 3


class TestExplanation:
    @pytest.mark.parametrize("method", ["wca", "cupl", "clip"])
    def test_contributions_times_the_class_s_scale_sum_to_its_score(self, method: str) -> None:
        result = classify(method=method, explain=True)
        for one in result.classes:
            columns = [n for n, text in enumerate(result.descriptions) if text.class_name == one.name]
            total = sum(row[column] for row in result.contributions for column in columns)
            assert one.scale is not None and one.scale * total == pytest.approx(one.score, abs=1e-6)

    def test_weights_sum_to_one(self) -> None:
        result = classify(explain=True)
        assert sum(crop.weight for crop in result.crops) == pytest.approx(1.0)
        for name in ANIMALS:
            weights = [text.weight for text in result.descriptions if text.class_name == name]
            assert sum(weights) == pytest.approx(1.0) and len(weights) == len(ANIMALS[name])

    def test_its_shape_is_crops_by_texts_of_the_classes_named(self) -> None:
        result = classify(explain=True, top=2)
        named = [one.name for one in result.classes]
        assert [text.class_name for text in result.descriptions] == [name for name in named for _ in ANIMALS[name]]
        assert len(result.contributions) == 6
        assert {len(row) for row in result.contributions} == {len(result.descriptions)}

    def test_nothing_is_explained_unasked_and_no_score_moves(self) -> None:
        plain, explained = classify(), classify(explain=True)
        assert not plain.crops and not plain.descriptions and not plain.contributions
        assert scores(plain) == pytest.approx(scores(explained), abs=1e-7)

    def test_a_class_is_encoded_once_for_all_pictures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        classifier = Session(load_tiny()).classifier(descriptions=ANIMALS, crops=2, explain=True)
        asked = []
        noted = noting(describe_class, lambda loaded, one, **_: asked.append(one.name))
        monkeypatch.setattr(route, "describe_class", noted)
        for image in SMALL:
            classifier.classify(image)
        assert sorted(asked) == sorted(ANIMALS)


class TestSettings:
    def test_alpha_reaches_the_crops(self) -> None:
        for alpha in (0.1, 0.8):
            sides = [crop.box[2] - crop.box[0] for crop in classify(explain=True, crops=60, alpha=alpha).crops]
            assert int(alpha * 150) <= min(sides) < (alpha + 0.1) * 150

    def test_scales_reach_the_weights(self) -> None:
        flat = classify(explain=True, image_logscale=-20.0, text_logscale=-20.0)
        assert {round(crop.weight, 6) for crop in flat.crops} == {round(1 / 6, 6)}
        sharp = classify(explain=True, image_logscale=20.0, text_logscale=20.0)
        assert max(crop.weight for crop in sharp.crops) == pytest.approx(1.0)

    def test_every_setting_is_in_the_provenance(self) -> None:
        result = classify(
            alpha=0.3, image_logscale=3.0, text_logscale=1.0, template="one {}", top=2, seed=5, batch_size=2
        )
        assert result.provenance.seed == 5
        assert result.provenance.settings == {
            "method": "wca",
            "crops": 6,
            "alpha": 0.3,
            "image_logscale": 3.0,
            "text_logscale": 1.0,
            "template": "one {}",
            "classes": 3,
            "texts": 6,
            "classes_sha256": result.provenance.settings["classes_sha256"],
            "top": 2,
            "explain": False,
            "batch_size": 2,
        }

    def test_the_batch_size_is_what_was_used_even_where_nobody_set_one(self) -> None:
        assert classify().provenance.settings["batch_size"] == 8  # on a CPU

    def test_a_method_without_crops_mentions_none(self) -> None:
        assert "crops" not in classify(method="cupl").provenance.settings

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"crops": 0}, "crops must be a whole number"),
            ({"crops": 2.5}, "crops must be a whole number"),
            ({"top": 0}, "top must be a whole number"),
            ({"batch_size": True}, "batch_size must be"),
            ({"alpha": 0.95}, "alpha must be a number from 0 to 0.9"),
            ({"alpha": float("nan")}, "alpha"),
            ({"alpha": "x"}, "alpha"),
            ({"image_logscale": 99.0}, "image_logscale must be a number"),
            ({"text_logscale": float("inf")}, "text_logscale must be a number"),
            ({"method": "CLIP"}, "method must be .*, not 'CLIP'"),
            ({"template": "a photo"}, "no place for the class"),
            ({"methode": "clip"}, "no setting methode"),
            ({"labels": "cat"}, "labels must be a list"),
            ({"labels": ["cow"]}, "no descriptions: 'cow'"),
            ({"descriptions": {"cat": "fur"}}, "must be a list"),
            ({"method": "waffle"}, "list of words"),
        ],
    )
    def test_bad_ones_are_sentences(self, settings: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            classify(**settings)


class TestIndependence:
    def test_the_seed_decides_the_crops_and_nothing_else_does(self) -> None:
        one, two, other = (classify(explain=True, seed=seed).crops for seed in (1, 1, 2))
        assert one == two and {c.box for c in one} != {c.box for c in other}

    def test_pictures_with_other_names_types_and_neighbors(self, tmp_path: Path) -> None:
        alone = scores(classify())
        copy = tmp_path / "copy.bmp"
        Image.open(WCA).convert("RGB").save(copy)
        together = Session(load_tiny()).classify_many(
            [*SMALL, copy, Image.open(WCA), WCA.read_bytes(), WCA], descriptions=ANIMALS, crops=6
        )
        for result in together[3:]:
            assert scores(result) == pytest.approx(alone, abs=1e-6)

    def test_the_batch_size(self) -> None:
        assert scores(classify(batch_size=1)) == pytest.approx(scores(classify(batch_size=64)), abs=1e-6)

    def test_a_turned_picture_is_cropped_upright(self, tmp_path: Path) -> None:
        turned = tmp_path / "turned.jpg"
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(WCA).convert("RGB").save(turned, exif=exif)
        result = classify(turned, explain=True)
        assert result.image_size == (150, 200)
        assert all(right <= 150 and bottom <= 200 for _, _, right, bottom in (crop.box for crop in result.crops))


class TestPictures:
    def test_one_of_a_few_pixels_warns_and_one_of_a_pixel_works(self) -> None:
        assert "some crops show less than 8 pixels" in classify(Image.new("RGB", (9, 30))).warnings[0]
        tiny = classify(Image.new("RGB", (1, 1)), explain=True)
        assert {crop.box for crop in tiny.crops} == {(0, 0, 1, 1)}
        assert classify(Image.new("RGB", (9, 30)), method="cupl").warnings == ()

    def test_bad_ones_name_themselves(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"no picture")
        with pytest.raises(ImageUnreadable, match=r"a\.jpg is not a picture"):
            classify(tmp_path / "a.jpg")
        Image.new("RGB", (4_000_000, 1)).save(tmp_path / "thin.png")
        with pytest.raises(ImageUnreadable, match="too long and thin") as caught:
            classify(tmp_path / "thin.png")
        assert caught.value.input == str(tmp_path / "thin.png")
        with pytest.raises(ImageUnreadable, match="not a prepared tensor"):
            classify(Prepared(torch.zeros(3, 64, 64)))
        with pytest.raises(ImageUnreadable, match="offline"):
            Session(load_tiny(), offline=True).classify("http://localhost/a.png", ["cat"])

    def test_any_mode_is_read(self) -> None:
        modes = [Image.open(WCA).convert(mode) for mode in ("L", "RGBA", "P", "CMYK")]
        assert all(len(classify(picture).classes) == 3 for picture in modes)


class TestNotes:
    def test_texts_beyond_the_context_are_counted(self) -> None:
        result = classify(descriptions={"cat": ("cat " * 100, "A cat."), "dog": ("A dog.",)})
        assert any("1 of 5 texts are longer" in note for note in result.provenance.notes), "labels are texts too"
        result = classify(descriptions={"cat " * 100: ("A cat. " * 100, "A cat. " * 100)})
        assert any("2 of 2 texts are longer" in note for note in result.provenance.notes)

    def test_words_that_an_embedded_model_never_saw(self) -> None:
        loaded = dataclasses.replace(load_tiny(), vocabulary=frozenset({"cat", "red"}))
        classifier = make_classifier(loaded, Classes(("red cat", "blue heron")))
        assert classifier.notes == ("not in the vocabulary of tiny-clip, scores unreliable: blue, heron",)


class TestBatch:
    def records(self, *images: Path | bytes) -> list[InputRecord]:
        return [InputRecord(str(n), image, f"{n}", "", (), Place("", 0, n)) for n, image in enumerate(images)]

    @pytest.mark.parametrize("method", ["wca", "cupl"])
    def test_a_run_gives_what_single_pictures_give(self, method: str) -> None:
        settings = ClassifySettings(method=method, crops=4, explain=True)
        classifier = make_classifier(load_tiny(), Classes(descriptions=ANIMALS), settings)
        images: list[Path | bytes] = [WCA, *SMALL, b"no picture", WCA, *SMALL]
        finished = list(run_batch(self.records(*images), ClassifyScorer(classifier)))
        for one, image in zip(finished, images, strict=True):
            if isinstance(image, bytes):
                assert isinstance(one.result, ImageUnreadable)
                continue
            alone = classifier.classify(image)
            assert isinstance(one.result, ClassifyResult)
            assert [crop.box for crop in one.result.crops] == [crop.box for crop in alone.crops]
            assert scores(one.result) == pytest.approx(scores(alone), abs=1e-6)
            assert one.result.image_size == alone.image_size and one.result.id == one.record.id

    def test_a_picture_that_the_model_turns_into_no_numbers_spoils_no_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        classifier = make_classifier(load_tiny(), Classes(descriptions=ANIMALS), ClassifySettings(crops=2))
        real = encode_images

        def overflowing(loaded: LoadedModel, values: Tensor) -> Tensor:
            if (values.flatten(1).amax(dim=1) < 0).any():  # black
                raise ModelMismatch("not finite")
            return real(loaded, values)

        monkeypatch.setattr(route, "encode_images", overflowing)
        black = io.BytesIO()
        Image.new("RGB", (64, 64)).save(black, "PNG")
        records = self.records(WCA, black.getvalue(), *SMALL)
        outcomes = [one.result for one in run_batch(records, ClassifyScorer(classifier))]
        assert [isinstance(one, ModelMismatch) for one in outcomes] == [False, True, False, False, False]

    def test_memory_is_bounded_whatever_the_number_of_crops(self) -> None:
        for crops, ahead in ((60, 8), (3, 128), (1000, 4)):
            settings = ClassifySettings(crops=crops)
            scorer = ClassifyScorer(make_classifier(load_tiny(), Classes(descriptions=ANIMALS), settings))
            assert scorer.pictures_ahead == ahead and scorer.window_records <= 64


def test_the_weights_of_crops_are_a_softmax_over_likeness() -> None:
    features = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    crops, weights = crop_weights(features, 4.0)
    assert torch.equal(crops, features[1:])
    assert torch.allclose(
        weights.log() - weights.log()[0],
        (54.59815 * (crops @ features[0])).sub(54.59815 * (crops[0] @ features[0])),
        atol=1e-4,
    )
    whole, alone = crop_weights(features[:1], 4.0)
    assert torch.equal(whole, features[:1]) and alone.tolist() == [1.0]
