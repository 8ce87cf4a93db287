"""What an error says: to a person at a terminal by flags, to a Python program by arguments."""

from __future__ import annotations

import pickle

import pytest

from clipalign.errors import MissingWeights, UsageError, in_arguments


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("use a shorter --template", "use a shorter template"),
        ("try --device cpu, or a smaller model", "try device='cpu', or a smaller model"),
        ("try --precision fp32; if that", "try precision='fp32'; if that"),
        ("more than --limit 4", "more than limit=4"),
        ("--no-stretch scores with the context", "stretch=False scores with the context"),
        ("or --model pictogram, which is here", "or model='pictogram', which is here"),
        ("leave out --offline and HF_HUB_OFFLINE", "leave out offline and HF_HUB_OFFLINE"),
        ("--data-root with the folder", "data_root with the folder"),
        ("clipalign download ViT-B-32; or", "clipalign.download('ViT-B-32'); or"),
        ("clipalign download cub --accept-license cub", "clipalign.download('cub', accept_license=True)"),
        ("clipalign download lists all there are", "clipalign download lists all there are"),
        ("a -- b, well-known", "a -- b, well-known"),
    ],
)
def test_a_program_is_told_of_arguments(said: str, meant: str) -> None:
    assert in_arguments(said) == meant


def test_the_text_holds_the_hint_and_the_parts_keep_their_flags() -> None:
    error = MissingWeights("no weights", hint="clipalign download ViT-B-32", input="ViT-B-32")
    assert str(error) == "no weights\nhint: clipalign.download('ViT-B-32')"
    assert error.hint == "clipalign download ViT-B-32"
    assert str(UsageError("no hint")) == "no hint"


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(MissingWeights("no weights", hint="fetch them", input="x")))
    assert (error.message, error.hint, error.input) == ("no weights", "fetch them", "x")
