"""Captions to tokens, and tokens back to the characters they came from."""

from __future__ import annotations

import dataclasses
import random
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipalign.data.words import reported_words, split_words
from clipalign.errors import ModelMismatch, UsageError
from clipalign.models.attribution import attribute
from clipalign.models.encode import encode_tokens
from clipalign.models.load import import_open_clip
from clipalign.models.tokenize import _merged, tokenize_text, trace_characters
from tests.tiny import load_random, load_tiny

LOADED = load_tiny()
CONTROL_WORDS = ("<start_of_text>", "<end_of_text>")

awkward = st.text(
    st.one_of(
        st.sampled_from("ab. ,'\"-!?;:é’“”…&;<>#1½ﬁＡßİΣς\u0301\u200b\u00a0\u2028\t\n\x00\x1b\x1c🐶👩‍🚀"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


def _covered(text: str, loaded: Any = LOADED) -> list[str]:
    encoded = tokenize_text(loaded, text)
    return [text[slice(*span)] for span in encoded.spans if span is not None]


def test_a_model_of_another_vocabulary_is_refused() -> None:
    network = SimpleNamespace(vocab_size=64)
    with pytest.raises(ModelMismatch, match="knows 64 tokens, and its tokenizer makes others"):
        tokenize_text(dataclasses.replace(LOADED, network=network), "a dog")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a cup of coke", ["a", "cup", "of", "coke"]),
        ("  A  Dog's\tball.", ["A", "Dog", "'s", "ball", "."]),
        ("3.5 (approx.)", ["3", ".", "5", "(", "approx", ".)"]),
        ("the dog’s", ["the", "dog", "’s"]),
        ("cats &amp; dogs", ["cats", "&", "dogs"]),
        ("cats &amp;amp; dogs", ["cats", "&", "dogs"]),
        ("cat&nbsp;dog", ["cat", "dog"]),
        ("the do\x00g c\x1b[31mat", ["the", "do\x00g", "c\x1b[31mat"]),
        ("cafe\u0301 au lait", ["cafe\u0301", "au", "lait"]),
        ("schÃ¶n dog", ["schÃ¶n", "dog"]),
        ("ﬁne ＤＯＧ day", ["ﬁne", "ＤＯＧ", "day"]),
        ("\ufeffa “dog”", ["a", "“", "dog", "”"]),
    ],
)
def test_tokens_know_their_characters(text: str, pieces: list[str]) -> None:
    spans = [span for span in tokenize_text(LOADED, text).spans if span is not None]
    for piece in pieces:
        start = text.index(piece)
        inside = [span for span in spans if start <= span[0] < start + len(piece)]
        assert inside[0][0] == start
        assert max(end for _, end in inside) == start + len(piece), "the tokens that begin in a piece end with it"


@settings(deadline=None, max_examples=60)
@given(awkward)
@example("It's 3.5 metres (approx.) tall, isn't it?")
@example("İİ ΑΣ &nbsp;x &CounterClockwiseContourIntegral; y")
@example("\ufeff\u200b don’t…")
def test_ids_are_the_tokenizers_own_and_spans_lie_in_the_text(text: str) -> None:
    encoded = tokenize_text(LOADED, text)
    row = LOADED.tokenizer([text])[0].tolist()
    assert list(encoded.ids + encoded.padding) == row
    assert encoded.ids[encoded.eot] == LOADED.tokenizer.eot_token_id
    assert len(encoded.spans) == len(encoded.ids)
    assert encoded.spans[0] is encoded.spans[-1] is None
    inner = [span for span in encoded.spans[1:-1] if span is not None]
    assert len(inner) == len(encoded.ids) - 2
    assert all(0 <= start < end <= len(text) for start, end in inner)
    assert [start for start, _ in inner] == sorted(start for start, _ in inner)


plain = st.text(st.sampled_from("abcxyz .,'-!?\"&;0129éüñ🐶漢字"), max_size=60)


@settings(deadline=None, max_examples=60)
@given(plain)
def test_every_plain_word_has_tokens_of_its_own(text: str) -> None:
    encoded = tokenize_text(LOADED, text)
    spans = [span for span in encoded.spans if span is not None]
    for word in reported_words(split_words(text)):
        if word.end <= encoded.cut_at:
            assert any(start < word.end and word.start < end for start, end in spans), word


@settings(deadline=None, max_examples=60)
@given(plain, plain)
def test_white_space_keeps_spans_apart(left: str, right: str) -> None:
    text = f"{left} {right}"
    for span in tokenize_text(LOADED, text).spans:
        assert span is None or not any(character.isspace() for character in text[slice(*span)].strip())


def test_text_over_the_context_is_counted_and_located() -> None:
    text = "dog " * 100 + "cat"
    encoded = tokenize_text(LOADED, text)
    assert encoded.n_tokens == 103
    assert encoded.truncated
    assert len(encoded.ids) == 77
    assert encoded.cut_at == 4 * 75
    assert encoded.padding == ()


def test_text_that_fits_is_not_cut() -> None:
    encoded = tokenize_text(LOADED, "a dog")
    assert (encoded.n_tokens, encoded.truncated, encoded.cut_at, encoded.eot) == (4, False, 5, 3)
    assert len(encoded.ids + encoded.padding) == 77


def test_the_context_is_the_models_own() -> None:
    encoded = tokenize_text(load_random("clip"), "dog " * 50)
    assert len(encoded.ids) == 40
    assert encoded.cut_at == 4 * 38


@pytest.mark.parametrize("spelled", CONTROL_WORDS)
def test_text_never_turns_into_control_tokens(spelled: str) -> None:
    encoded = tokenize_text(LOADED, f"a {spelled} dog")
    control = set(LOADED.tokenizer.all_special_ids)
    assert not control & set(encoded.ids[1:-1])
    assert _covered(f"a {spelled} dog")[-1] == "dog"


def test_a_very_long_repair_ends_in_reasonable_time() -> None:
    encoded = tokenize_text(LOADED, "’“” &amp;" * 5000 + "x")
    assert encoded.truncated


def test_characters_are_traced_through_repairs() -> None:
    assert trace_characters("a &amp; b", "a & b") == [(0, 1), (0, 0), (2, 3), (0, 0), (8, 9)]
    assert trace_characters("it’s", "it's") == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert trace_characters("A\x00b", "ab") == [(0, 1), (2, 3)]
    assert trace_characters("e\u0301a", "éa") == [(0, 2), (2, 3)]
    assert trace_characters("ﬁn", "fin") == [(0, 1), (0, 1), (1, 2)]
    assert trace_characters("", "x") == [(0, 1)]


def test_an_unknown_tokenizer_is_named() -> None:
    class SomeTokenizer:
        pass

    loaded = load_random("clip")
    other = type(loaded)(**{**vars(loaded), "tokenizer": SomeTokenizer()})
    with pytest.raises(UsageError, match="SomeTokenizer"):
        tokenize_text(other, "a dog")


@pytest.mark.parametrize("alphabet", ["ab", "etaoinshrdlu", "aé日🐶"])
def test_a_long_run_of_letters_merges_as_the_tokenizer_merges_it(alphabet: str) -> None:
    generator = random.Random(alphabet)
    tokenizer: Any = LOADED.tokenizer
    for length in (101, 150, 400):
        symbols = "".join(
            tokenizer.byte_encoder[byte] for byte in "".join(generator.choices(alphabet, k=length)).encode()
        )
        assert _merged(tokenizer, symbols) == tokenizer.bpe(symbols).split(" ")


def test_a_hundred_thousand_letters_without_a_space_are_counted() -> None:
    encoded = tokenize_text(LOADED, "dog" * 33_333)
    assert encoded.truncated
    assert encoded.n_tokens > 10_000


class _OffsetTokenizer:
    """Behaves like a fast tokenizer of the transformers library: no start token, end token 1, padding 0."""

    is_fast = True

    def __call__(self, text: Any, **wanted: Any) -> Any:
        cleaned = text[0] if isinstance(text, list) else text
        places = [match.span() for match in re.finditer(r"\S+", cleaned)]
        ids = [2 + len(cleaned[slice(*place)]) for place in places] + [1]
        if not wanted.get("return_offsets_mapping"):
            room = wanted.get("max_length", 0)
            if not room:
                return {"input_ids": ids}
            ids = (ids if len(ids) <= room else [*ids[: room - 1], 1]) + [0] * (room - len(ids))
            return SimpleNamespace(input_ids=torch.tensor([ids]))
        special = [0] * len(places) + [1]
        return {"input_ids": ids, "offset_mapping": [*places, (0, 0)], "special_tokens_mask": special}


def _with_offsets(context_tokens: int) -> Any:
    kinds = import_open_clip().tokenizer
    tokenizer = kinds.HFTokenizer.__new__(kinds.HFTokenizer)
    tokenizer.tokenizer, tokenizer.tokenizer_mode, tokenizer.strip_sep_token = _OffsetTokenizer(), "", False
    tokenizer.context_length, tokenizer.clean_fn = context_tokens, kinds.get_clean_fn("canonicalize")
    return dataclasses.replace(load_random("siglip"), tokenizer=tokenizer, context_tokens=context_tokens)


def test_tokenizers_with_offsets_are_traced_through_their_cleaning() -> None:
    text = 'A red, (small) dog\'s  "ball"!'
    encoded = tokenize_text(_with_offsets(9), text)
    assert [text[slice(*span)] for span in encoded.spans if span] == ["A", "red", "small", "dog's", "ball"]
    assert (encoded.ids, encoded.eot, encoded.padding) == ((3, 5, 7, 6, 6, 1), 5, (0, 0, 0))
    assert (encoded.n_tokens, encoded.truncated, encoded.cut_at) == (6, False, len(text))


def test_tokenizers_with_offsets_tell_what_they_cut() -> None:
    encoded = tokenize_text(_with_offsets(4), "a red cup of coke")
    assert encoded.ids == (3, 5, 5, 1)
    assert encoded.spans == ((0, 1), (2, 5), (6, 9), None)
    assert (encoded.n_tokens, encoded.truncated, encoded.cut_at) == (6, True, 10)


def test_a_tokenizer_that_keeps_no_places_is_enough_for_vectors() -> None:
    loaded = _with_offsets(4)
    expected = tokenize_text(loaded, "a red cup of coke")
    loaded.tokenizer.tokenizer.is_fast = False
    encoded = tokenize_text(loaded, "a red cup of coke")
    assert (encoded.ids, encoded.n_tokens, encoded.truncated) == (expected.ids, 6, True)
    assert encoded.spans == (None,) * 4
    assert encode_tokens(loaded, [encoded]).equal(encode_tokens(loaded, [expected]))
    with pytest.raises(UsageError, match="the tokenizer _OffsetTokenizer: its tokens cannot be located"):
        attribute(loaded, torch.zeros(1, 24), [encoded], layers=1)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40), st.none() | st.integers(0, 45))
def test_plain_text_is_traced_as_any_other(text: str, until: int | None) -> None:
    shifted = trace_characters(f"é{text}", f"é{text.lower()}", None if until is None else until + 1)[1:]
    expected = [(begin - 1, end - 1) if end else (0, 0) for begin, end in shifted]
    assert trace_characters(text, text.lower(), until) == expected
