"""The route of ``detect``: scores, words, warnings, and what it refuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from PIL import Image

from clipalign.errors import InputUnreadable, ModelMismatch, TextUnusable, UsageError
from clipalign.methods.detect import Pair, detect_each, detect_pairs
from clipalign.methods.scores import clip_score, f_clip_score, ref_clip_score
from clipalign.methods.settings import DetectSettings
from clipalign.models.encode import encode_texts
from clipalign.models.image_encoder import encode_pictures
from clipalign.models.model import LoadedModel
from clipalign.results import DetectResult
from tests.spy import noting
from tests.tiny import GOLDEN, load_random, load_tiny

PICTURE = Image.open(GOLDEN / "images" / "0.png").convert("RGB")


def _detect(
    text: str, *, loaded: LoadedModel | None = None, references: tuple[str, ...] = (), **settings: Any
) -> DetectResult:
    pair = Pair(PICTURE, text, references=references, image_name="0.png")
    return detect_pairs(loaded or load_tiny(), [pair], DetectSettings(**settings))[0]


def _with(loaded: LoadedModel, **changes: Any) -> LoadedModel:
    return dataclasses.replace(loaded, **changes)


def test_scores_follow_their_formulas() -> None:
    assert clip_score(0.3) == pytest.approx(0.75)
    assert clip_score(-0.3) == 0.0
    assert f_clip_score(-0.002, 0.75) == pytest.approx(-0.0014)
    assert ref_clip_score(0.75, 0.2) == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert ref_clip_score(0.75, -0.2) == 0.0
    assert ref_clip_score(0.0, 0.0) == 0.0


def test_a_result_holds_together() -> None:
    result = _detect("Two dogs' owners playing frisbee-golf in the park!")
    assert all(result.text[word.start : word.end] == word.text for word in result.words)
    assert result.misaligned == ("Two", "park!", "playing")
    assert [word.text for word in result.words if word.misaligned] == ["Two", "playing", "park!"]
    assert result.clip_score == pytest.approx(2.5 * result.cosine)
    assert result.f_clip_score == pytest.approx(result.sum_negative_attribution * (1 - result.cosine))
    assert result.id == result.image == "0.png"
    assert result.provenance.settings == {
        "mode": "threshold",
        "epsilon": -5e-5,
        "layers": 3,
        "template": "A photo depicts ",
        "batch_size": 32,
    }
    assert set(result.provenance.versions) == {"clipalign", "torch", "open_clip", "pillow"}
    assert result.warnings == ()


def test_most_negative_picks_one_word_and_never_punctuation() -> None:
    for text in ("A man, a plan, a canal. Panama", "  double  spaces and trailing. "):
        result = _detect(text, mode="most-negative")
        assert len(result.misaligned) == 1
        scored = [word.attribution for word in result.words]
        assert result.sum_negative_attribution == min(value for value in scored if value is not None)


def test_the_template_may_be_empty_and_never_shows() -> None:
    result = _detect("a cup", template="")
    assert [(word.text, word.start, word.end) for word in result.words] == [("a", 0, 1), ("cup", 2, 5)]
    assert result.n_tokens == 4
    assert _detect("a cup").n_tokens == 7
    assert _detect("a cup", template="A photo depicts {}") == _detect("a cup")


def test_control_characters_keep_offsets_right() -> None:
    result = _detect("a \x00c\x07up\t\x1b[31mof coke")
    assert [word.text for word in result.words] == ["a", "\x00c\x07up", "\x1b[31mof", "coke"]
    assert all(result.text[word.start : word.end] == word.text for word in result.words)
    plain = _detect("a cup of coke")
    assert [word.attribution for word in result.words] == [word.attribution for word in plain.words]


def test_text_beyond_the_context_is_named_not_lost() -> None:
    result = _detect("dog " * 72 + "sealion cat")
    assert result.truncated
    assert result.n_tokens == 80
    assert [(word.text, word.scored, word.attribution) for word in result.words[-2:]] == [
        ("sealion", False, None),
        ("cat", False, None),
    ]
    assert any("not scored" in warning and warning.endswith("sealion, cat") for warning in result.warnings)


def test_a_word_cut_in_its_middle_is_named() -> None:
    result = _detect("dog " * 71 + "floccinaucinihilipilification")
    assert result.words[-1].scored
    assert any(warning.endswith(": floccinaucinihilipilification") for warning in result.warnings)


def test_five_hundred_words_are_handled_and_counted() -> None:
    result = _detect("word " * 500)
    assert len(result.words) == 500
    assert sum(word.scored for word in result.words) == 72
    assert any("and 420 more" in warning for warning in result.warnings)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "...", '!? ".'])
def test_a_text_without_words_is_unusable(text: str) -> None:
    with pytest.raises(TextUnusable) as caught:
        _detect(text)
    assert caught.value.input == "0.png"


@pytest.mark.parametrize("references", [(), ("b" * 200_001,)])
def test_a_text_of_endless_length_is_its_own_error(references: tuple[str, ...]) -> None:
    """Before it is taken apart: a thousand of them may come from a table of a few hundred bytes."""
    long = Pair(PICTURE, "a dog" if references else "a " * 100_001, references=references, id="long")
    outcomes = detect_each(load_tiny(), [long, Pair(PICTURE, "a dog", id="short")])
    assert isinstance(outcomes[0], TextUnusable) and outcomes[0].input == "long"
    assert "at most 200,000 are read" in outcomes[0].message
    assert isinstance(outcomes[1], DetectResult)


def test_references_use_the_nearest_and_the_template() -> None:
    references = ("an unrelated thing", "a cup of coke", "dogs")
    result = _detect("a cup of coke", references=references)
    assert result.references == references
    assert result.ref_clip_score == pytest.approx(2 * result.clip_score * 2.5 / (result.clip_score + 2.5), abs=1e-5)
    vectors = encode_texts(load_tiny(), [f"A photo depicts {text}" for text in ("a cup of coke", "dogs")])
    other = _detect("a cup of coke", references=("dogs",))
    assert other.ref_clip_score == pytest.approx(
        ref_clip_score(other.clip_score, float(vectors[0] @ vectors[1])), abs=1e-5
    )
    assert _detect("a cup of coke").ref_clip_score is None


def test_a_warning_shows_the_beginning_of_a_word_of_endless_length() -> None:
    (warning,) = _detect("-" * 100_000).warnings
    assert "scored by its beginning alone" in warning and f"{'-' * 40}…" in warning and len(warning) < 200


def test_one_reference_cut_by_the_context_is_told() -> None:
    result = _detect("a dog", references=("dog " * 100,))
    assert any(warning.startswith("references cut") for warning in result.warnings)


def test_words_an_embedded_model_never_saw_are_named() -> None:
    loaded = _with(load_tiny(), vocabulary=frozenset({"a", "cup", "of"}))
    result = _detect("A cup of coke, coke!", loaded=loaded)
    assert result.unknown_words == ("coke", "coke!")
    assert any(warning.endswith(": coke, coke!") for warning in result.warnings)
    assert _detect("A cup of coke").unknown_words == ()


def test_an_image_is_encoded_once_for_many_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_tiny()
    seen: list[int] = []
    monkeypatch.setattr(
        "clipalign.models.encode.encode_pictures",
        noting(encode_pictures, lambda network, images: seen.append(len(images))),
    )
    other = PICTURE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    detect_pairs(loaded, [Pair(image, text) for text in ("a", "b", "c") for image in (PICTURE, other)])
    assert seen == [2]


def test_images_may_come_as_files_tensors_and_features() -> None:
    from clipalign.data.transforms import to_tensor
    from clipalign.models.encode import encode_images

    loaded = load_tiny()
    tensor = to_tensor(PICTURE, loaded)
    features = encode_images(loaded, tensor[None])[0]
    images = (GOLDEN / "images" / "0.png", str(GOLDEN / "images" / "0.png"), PICTURE, tensor, 3 * features)
    cosines = [result.cosine for result in detect_pairs(loaded, [Pair(image, "a cup") for image in images])]
    assert cosines == pytest.approx([cosines[0]] * 5, abs=1e-6)


def test_batches_change_nothing() -> None:
    pairs = [Pair(PICTURE, text) for text in ("a cup", "a cup of coffee on a table", "a", "a cup of coke", "dogs")]
    together = detect_pairs(load_tiny(), pairs)
    for batch_size in (1, 2):
        for one, other in zip(
            together, detect_pairs(load_tiny(), pairs, DetectSettings(batch_size=batch_size)), strict=True
        ):
            assert one.text == other.text
            assert [w.attribution for w in one.words] == pytest.approx([w.attribution for w in other.words], abs=1e-6)


def test_no_pairs_no_results() -> None:
    assert detect_pairs(load_tiny(), []) == []


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"mode": "worst"}, "mode"),
        ({"layers": 0}, "layers"),
        ({"layers": 7}, "--layers"),
        ({"layers": 2.0}, "layers"),
        ({"epsilon": "low"}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"batch_size": 0}, "batch_size"),
        ({"template": "dog " * 80}, "--template"),
        ({"template": "a photo of {}."}, "template"),
    ],
)
def test_settings_out_of_range_are_usage_errors(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError) as caught:
        _detect("a cup", **settings)
    assert caught.value.input == option


@pytest.mark.parametrize(
    "image",
    [torch.zeros(3, 8, 8), torch.full((3, 64, 64), torch.nan), torch.full((64,), torch.inf), torch.zeros(1, 3, 64, 64)],
    ids=["shape", "not a number", "infinite features", "batch"],
)
def test_unusable_image_tensors_are_named(image: torch.Tensor) -> None:
    with pytest.raises(InputUnreadable) as caught:
        detect_pairs(load_tiny(), [Pair(image, "a cup", image_name="x.png")])
    assert caught.value.input == "x.png"


@pytest.mark.parametrize("part", ["visual.proj", "ln_final.weight"])
def test_numbers_that_are_not_finite_are_an_error(part: str) -> None:
    network = load_random("clip").network
    parameter = dict(network.named_parameters())[part]
    kept = parameter.detach().clone()
    try:
        parameter.fill_(torch.nan)
        with pytest.raises(ModelMismatch, match="not finite"):
            _detect("a cup", loaded=load_random("clip"))
    finally:
        parameter.copy_(kept)


@pytest.mark.parametrize("mode", ["threshold", "most-negative"])
def test_a_text_the_model_reads_nothing_of_is_refused_and_not_passed_as_fitting(mode: str) -> None:
    with pytest.raises(TextUnusable, match="reads nothing"):
        _detect("\x07", mode=mode)
