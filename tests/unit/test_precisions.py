"""What another engine or precision does to verdicts: counted by hand, and of a benchmark."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from clipalign.errors import UsageError
from clipalign.evaluation.benchmark import CaptionOutcome
from clipalign.evaluation.precisions import changes, read_variants
from tests.cli.run import TINY, run_here
from tests.results import result_of

ASKED = ("eval", "--dataset", "pictogram-foil", "--limit", "6", "--model", TINY)


def outcomes(*scored: tuple[tuple[float, ...], float]) -> list[CaptionOutcome]:
    """Captions of two words with their attributions and cosine."""
    found = []
    for number, (values, cosine) in enumerate(scored):
        result = replace(result_of("red bus", *values), cosine=cosine, clip_score=2.5 * cosine)
        found.append(CaptionOutcome(str(number), "red bus", True, "", (), result, truth={}))
    return found


def test_changes_are_counted_by_words_captions_and_ranks() -> None:
    before = outcomes(((-2, 1), 0.1), ((-2, -1), 0.2), ((1, 2), 0.3))
    after = outcomes(((2, 1), 0.1), ((-1, -2), 0.35), ((1, 2), 0.3))  # a word, a lowest word, the order of a pair
    found = {one.name: one for one in changes(before, after, seed=0)}
    assert found["words_changed"].value == pytest.approx(10_000 / 6)
    assert found["lowest_word_changed"].value == pytest.approx(2 / 3)  # the first caption's too
    assert found["tau_b_clip_score"].value == pytest.approx(1 / 3)
    assert found["largest_cosine_difference"].value == pytest.approx(0.15)
    assert found["words_changed"].low == 0 and found["words_changed"].high == pytest.approx(10_000 / 2)


def test_a_sample_that_one_run_could_not_read_does_not_count() -> None:
    before, after = outcomes(((1, 1), 0.1), ((1, 1), 0.2)), outcomes(((1, 1), 0.1), ((-1, 1), 0.2))
    assert changes(before, after[1:], seed=0)[0].n == 1
    assert changes(before[1:], after, seed=0)[0].n == 1


def test_a_precision_alone_lets_the_engine_be_chosen() -> None:
    assert read_variants(["bf16", "torch:bf16"]) == [("auto", "bf16"), ("torch", "bf16")]
    for wrong in ("fp64", "tpu:fp32", "torch:", ":bf16:", ""):
        with pytest.raises(UsageError, match="wants PRECISION or ENGINE:PRECISION"):
            read_variants([wrong])


def test_torch_in_fp32_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run_here(capsys, *ASKED, "--compare-precision", "torch:fp32", "--format", "json")
    (run,) = json.loads(out)["runs"]
    assert status == 0 and run["swept"] == {"engine": "torch", "precision": "fp32"}
    assert run["settings"]["mode"] == "threshold"
    assert run["metrics"]["words_changed"] == 0 and run["metrics"]["tau_b_clip_score"] == pytest.approx(1)
    assert any("fewer than 50.00%" in note for note in run["notes"])
    table = run_here(capsys, *ASKED, "--compare-precision", "torch:fp32", "--format", "table").out
    assert "words_changed" in table and "0 to 0" in table


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--compare-precision", "torch:int8"), "torch has no int8"),
        (("--compare-precision", "fp8"), "fp8"),
        (("--compare-precision", "fp16"), "not available"),
        (("--compare-precision", "bf16", "--precision", "bf16"), "makes no use of --precision"),
        (("--compare-precision", "bf16", "--calibrate"), "exclude each other"),
        (("--compare-precision", "bf16", "--dataset", "pictogram-classify"), "no verdicts on words"),
    ],
)
def test_what_cannot_be_compared_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    status, out, err = run_here(capsys, *ASKED, *more)
    assert (status, out) == (2, "") and said in err
