"""Long texts sentence by sentence: every prefix as if it were scored alone, and nothing lost without a word."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from PIL import Image

from clipalign.errors import TextUnusable, UsageError
from clipalign.methods.detect import Pair
from clipalign.methods.score_long import LongScorer, score_long_pairs
from clipalign.methods.scores import specs_score
from clipalign.methods.settings import LongSettings
from clipalign.models.encode import EncodedPicture, encode_texts
from clipalign.models.long_context import stretched
from clipalign.models.model import LoadedModel
from clipalign.models.text_encoder import CausalTextTower
from clipalign.results import LongResult
from clipalign.session import Session
from tests.tiny import CAUSAL, GOLDEN, TOWERS, load_random, load_tiny

PICTURE = Image.open(GOLDEN / "images" / "0.png")
TEXT = "A red car stands there. Two dogs, one brown, sit beside it. The sky is blue… It is 3.5 p.m. now"


def score(loaded: LoadedModel, text: str, **settings: object) -> LongResult:
    pair = Pair(PICTURE, text, image_name="0.png")
    return score_long_pairs(loaded, [pair], LongSettings(**settings))[0]  # type: ignore[arg-type]


def alone(loaded: LoadedModel, text: str) -> float:
    """The cosine of one text, encoded by itself."""
    features = LongScorer(loaded, LongSettings(stretch=False))
    image = features.encode([features.prepare(PICTURE)])[0]
    assert isinstance(image, EncodedPicture)
    return float(encode_texts(loaded, [text])[0] @ image.vectors[0])


class TestPrefixes:
    @pytest.mark.parametrize("by", ["sentence", "phrase"])
    @pytest.mark.parametrize("kind", TOWERS)
    def test_are_what_they_are_alone(self, kind: str, by: str) -> None:
        loaded = load_random(kind)
        result = score(loaded, TEXT, by=by, stretch=False)
        assert len(result.sentences) == (4 if by == "sentence" else 6)
        for sentence in result.sentences:
            assert sentence.cosine == pytest.approx(alone(loaded, TEXT[: sentence.end]), abs=1e-6)
        assert result.cosine == result.sentences[-1].cosine

    @pytest.mark.parametrize("kind", CAUSAL)
    def test_of_a_stretched_model_too(self, kind: str) -> None:
        longer = stretched(load_random(kind))
        text = "A red car. " * 12
        for sentence in score(load_random(kind), text).sentences:
            assert sentence.cosine == pytest.approx(alone(longer, text[: sentence.end]), abs=1e-6)

    def test_come_from_one_prefill(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[tuple[int, int]] = []
        prefill = CausalTextTower.prefill

        def counted(self, captions, prefixes, *, layers):  # type: ignore[no-untyped-def]
            asked.append((len(captions), len(prefixes[0])))
            return prefill(self, captions, prefixes, layers=layers)

        monkeypatch.setattr(CausalTextTower, "prefill", counted)
        score(load_tiny(), TEXT, contribution="increment")
        score(load_tiny(), TEXT, contribution="shapley")
        assert asked == [(1, 4), (8, 4)], "of the 16 sets of four sentences eight are a beginning of another"

    @pytest.mark.parametrize(
        "text",
        [
            "一只狗。“猫。”红色的车",
            "Caf\u00e9 &amp; bar. &lt;b&gt; A dog.«Oui.» x",
            "a.\u200b\u200b b. 🐶🐶. c!!!... d",
        ],
    )
    def test_whose_tokens_join_others_in_the_whole_text(self, text: str) -> None:
        """Punctuation runs together where there is no space, and repairs reach over it."""
        loaded = load_tiny()
        for sentence in score(loaded, text, stretch=False).sentences:
            assert sentence.cosine == pytest.approx(alone(loaded, text[: sentence.end]), abs=1e-6)

    def test_do_not_depend_on_the_company(self) -> None:
        texts = [TEXT, "a dog", TEXT[:60], "Two. Words.", TEXT * 2]
        together = score_long_pairs(load_tiny(), [Pair(PICTURE, text) for text in texts], LongSettings(batch_size=2))
        for text, result in zip(texts, together, strict=True):
            for here, there in zip(result.sentences, score(load_tiny(), text).sentences, strict=True):
                assert here.cosine == pytest.approx(there.cosine, abs=1e-6)


class TestIncrements:
    def test_add_up_to_the_score(self) -> None:
        result = score(load_tiny(), TEXT)
        first, *others = result.sentences
        assert first.increment is None and first.specs_score is not None
        total = first.specs_score + math.fsum(sentence.increment or 0.0 for sentence in others)
        assert total == pytest.approx(result.specs_score)
        for before, after in pairwise(result.sentences):
            assert after.cosine is not None and before.cosine is not None
            assert after.increment == pytest.approx((after.cosine - before.cosine) / 2)

    def test_a_piece_of_which_nothing_is_read_changes_nothing(self) -> None:
        result = score(load_tiny(), "A dog runs.\n\n\u0001\u0002x\u0003. A cat.".replace("x", ""))
        unread = [sentence for sentence in result.sentences[1:] if sentence.increment == 0.0]
        assert len(result.sentences) == 2 or unread


class TestContributions:
    @pytest.mark.parametrize("kind", ["shapley", "leave-one-out", "increment"])
    def test_mark_what_lowers_by_more_than_the_margin(self, kind: str) -> None:
        def found(margin: float) -> LongResult:
            return score(load_tiny(), TEXT, contribution=kind, margin=margin)

        changes = [sentence.contribution for sentence in found(0.0).sentences]
        assert [sentence.lowers for sentence in found(0.0).sentences] == [
            change is not None and change < 0 for change in changes
        ]
        worst = min(change for change in changes if change is not None)
        assert worst < 0
        assert found(-worst + 1e-6).lowering == ()
        assert len(found(-worst - 1e-6).lowering) == 1

    def test_the_last_sentence_left_out_leaves_the_prefix_before_it(self) -> None:
        last = score(load_tiny(), TEXT, contribution="leave-one-out").sentences[-1]
        assert last.contribution == pytest.approx(last.increment, abs=1e-7)

    def test_are_of_what_was_read(self) -> None:
        for kind in ("shapley", "leave-one-out"):
            sentences = score(load_tiny(), TEXT * 4, stretch=False, contribution=kind).sentences
            assert [one.contribution is not None for one in sentences] == [one.scored for one in sentences]

    def test_of_many_sentences_are_drawn_by_the_seed(self) -> None:
        words = ("a", "dog", "cat", "man", "car", "red", "sky", "sea")
        text = " ".join(f"{word.capitalize()} stands there." for word in words)
        once, again, other = (score(load_tiny(), text, seed=seed).sentences for seed in (1, 1, 2))
        assert once == again != other
        for one, two in zip(once, other, strict=True):
            assert one.contribution is not None and one.standard_error is not None and one.standard_error > 0
            assert two.contribution == pytest.approx(one.contribution, abs=8 * one.standard_error)

    def test_of_very_many_are_leave_one_out_and_say_so(self) -> None:
        text = "A dog. " * 17
        result = score(load_tiny(), text)
        assert result.warnings[0].startswith("contributions are leave-one-out: 17 sentences")
        assert result.sentences == score(load_tiny(), text, contribution="leave-one-out").sentences

    def test_between_scripts_without_spaces(self) -> None:
        found = score(load_tiny(), "一只狗。“猫。”红色的车。", contribution="leave-one-out", stretch=False)
        whole, without = alone(load_tiny(), found.text), alone(load_tiny(), "“猫。”红色的车。")
        assert found.sentences[0].contribution == pytest.approx((whole - without) / 2, abs=1e-6)


class TestScores:
    @pytest.mark.parametrize(("cosine", "expected"), [(-1.0, 0.0), (0.0, 0.5), (1.0, 1.0), (-0.2, 0.4), (1.1, 1.0)])
    def test_specs(self, cosine: float, expected: float) -> None:
        assert specs_score(cosine) == pytest.approx(expected)

    def test_clip_score_stands_beside_it_where_the_weights_are_not_those_of_specs(self) -> None:
        from dataclasses import replace

        loaded = load_tiny()
        result = score(loaded, "a dog")
        assert result.clip_score == pytest.approx(2.5 * max(result.cosine, 0))
        specs = replace(loaded, row=replace(loaded.row, is_specs=True))
        assert score(specs, "a dog").clip_score is None


class TestContext:
    def test_an_ordinary_model_is_stretched_and_says_so(self) -> None:
        loaded = load_tiny()
        result = score(loaded, TEXT * 4)
        assert result.provenance.settings["context_tokens"] == 248 and not result.truncated
        assert any("stretched from 77 to 248" in note for note in result.provenance.notes)
        assert any("--no-stretch" in warning for warning in result.warnings)
        assert loaded.context_tokens == 77 and not loaded.notes

    def test_or_keeps_its_own_context_and_reports_what_it_did_not_read(self) -> None:
        result = score(load_tiny(), TEXT * 4, stretch=False)
        assert result.truncated and result.provenance.settings["context_tokens"] == 77
        cut = [place for place, sentence in enumerate(result.sentences) if sentence.cut]
        assert len(cut) == 1
        assert all(sentence.scored for sentence in result.sentences[: cut[0] + 1])
        beyond = result.sentences[cut[0] + 1 :]
        assert beyond and not any(sentence.scored or sentence.lowers for sentence in beyond)
        assert result.cosine == result.sentences[cut[0]].cosine
        assert f"77 of the text's {result.n_tokens} tokens; sentence {cut[0] + 1}" in result.warnings[0]
        assert f"{len(beyond)} sentences, from “" in result.warnings[1]

    def test_the_cut_sentence_is_scored_by_what_was_read(self) -> None:
        loaded = load_tiny()
        text = "A red car stands there. " + "a dog and " * 60 + "a cat."
        result = score(loaded, text, stretch=False)
        assert result.sentences[1].cut
        assert result.cosine == pytest.approx(alone(loaded, text), abs=1e-6)

    def test_a_cut_between_two_sentences_cuts_neither(self) -> None:
        text = "dog " * 74 + "dog. A cat sits."  # with start, period and end token 78: the stop does not fit
        sentences = score(load_tiny(), "dog " * 73 + "dog. A cat sits.", stretch=False).sentences
        assert [(sentence.scored, sentence.cut) for sentence in sentences] == [(True, False), (False, False)]
        assert score(load_tiny(), text, stretch=False).sentences[0].cut

    @pytest.mark.parametrize("kind", sorted(TOWERS.keys() - CAUSAL))
    def test_a_tower_that_cannot_be_stretched_keeps_its_context(self, kind: str) -> None:
        result = score(load_random(kind), TEXT * 4)
        assert result.truncated and result.provenance.settings["context_tokens"] == 40

    def test_ten_thousand_words(self) -> None:
        result = score(load_tiny(), "A red car stands there near two dogs and cats. " * 1000)
        assert result.n_tokens > 10_000 and result.truncated and len(result.sentences) == 1000
        assert sum(sentence.scored for sentence in result.sentences) == 23


class TestTexts:
    @pytest.mark.parametrize(("text", "count"), [("dog", 1), ("no sentence here", 1), ("🐶", 1), (" dog. cat ", 2)])
    def test_short_ones(self, text: str, count: int) -> None:
        result = score(load_tiny(), text)
        assert len(result.sentences) == count and result.sentences[0].increment is None

    @pytest.mark.parametrize("text", ["", "  \n", "...", " !? "])
    def test_without_a_word(self, text: str) -> None:
        with pytest.raises(TextUnusable):
            score(load_tiny(), text)

    def test_of_endless_length(self) -> None:
        with pytest.raises(TextUnusable, match="200,002 characters; at most 200,000"):
            score(load_tiny(), "a " * 100_001)

    def test_without_anything_the_model_reads(self) -> None:
        with pytest.raises(TextUnusable, match="reads nothing"):
            score(load_tiny(), "\u0001\u0002")

    def test_offsets_count_the_text_as_given(self) -> None:
        text = "  A &amp; Bo.\r\n\tCaf\u00e9   au lait. "
        assert [text[s.start : s.end] for s in score(load_tiny(), text).sentences] == ["A &amp; Bo.", "Café   au lait."]


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"by": "word"}, "by must be sentence or phrase, not 'word'"),
            ({"contribution": "increments"}, "contribution must be shapley, leave-one-out or increment"),
            ({"margin": -0.1}, "margin must be"),
            ({"margin": math.nan}, "margin must be"),
            ({"batch_size": 0}, "batch_size must be"),
        ],
    )
    def test_out_of_range(self, settings: dict[str, object], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            score(load_tiny(), "a dog", **settings)

    def test_are_kept_in_the_provenance(self) -> None:
        found = score(load_tiny(), "a dog", by="phrase", margin=0.25, seed=3).provenance
        assert found.settings == {
            "by": "phrase", "contribution": "shapley", "margin": 0.25, "stretch": True, "context_tokens": 248,
            "batch_size": 32,
        }  # fmt: skip
        assert found.seed == 3


class TestSession:
    def test_several_texts_about_one_picture(self) -> None:
        session = Session(load_tiny())
        path = GOLDEN / "images" / "0.png"
        results = session.score_long_many([(path, "a dog"), (path, "A cat. A dog.")], by="phrase")
        assert [len(result.sentences) for result in results] == [1, 2]
        assert session.score_long(path, "a dog").cosine == pytest.approx(results[0].cosine, abs=1e-6)

    def test_unknown_settings_are_named(self) -> None:
        with pytest.raises(UsageError, match="marging"):
            Session(load_tiny()).score_long(PICTURE, "a dog", marging=1)  # type: ignore[call-arg]

    def test_the_model_stays_as_it_was(self) -> None:
        loaded = load_tiny()
        before = loaded.network.positional_embedding.clone()
        Session(loaded).score_long(PICTURE, TEXT * 3)
        assert torch.equal(loaded.network.positional_embedding, before)
