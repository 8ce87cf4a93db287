"""Every option is in the help with its default and unit, and the same one reads the same in all commands."""

from __future__ import annotations

from typing import Any

import pytest

from clipalign.commands import COMMANDS
from clipalign.config.suggest import OTHER_TOOLS, translation
from tests.cli.run import run_here
from tests.contract.test_options import options_of

QUANTITIES = {
    "--threads": "threads", "--batch-size": "per batch", "--layers": "layers", "--epsilon": "attribution",
    "--top": "N", "--suggest": "up to N",
    "--limit": "first N", "--crops": "crops", "--alpha": "share of the image", "--margin": "score",
    "--hinge-margin": "units of the scaled cosine",
    "--reject-below": "score", "--max-misaligned": "captions", "--min-clip-score": "CLIPScore",
    "--false-alarms": "share of right captions",
    "--shard": "part I of N", "--held-out": "samples", "--workers": "threads", "--epochs": "over the data",
    "--accumulate": "batches", "--draws": "prefixes", "--learning-rate": "peak", "--warmup-steps": "steps",
    "--weight-decay": "adamw", "--clip-norm": "norm", "--validate-every": "steps",
    "--save-every": "steps", "--blend": "share of the trained weights", "--image-logscale": "how sharply",
    "--text-logscale": "how sharply", "--seed": "drawn at random", "--lambda-contrastive": "weight",
    "--lambda-detail": "weight", "--lambda-negative": "weight", "--lambda-short": "weight",
    "--caption-tokens": "tokens", "--shuffled": "share of the samples", "--min-words": "words",
}  # fmt: skip
"""What each number counts or measures, in the words of its help."""

OTHER_MEANINGS = {
    ("train-specs", "--batch-size"): "samples",
}
NOTHING_BY_DEFAULT = {
    "--input", "--output", "--label", "--labels", "--compare-precision",
    "--descriptions", "--dataset", "--describe-with", "--reference", "--text-file",
    "--accept-license", "--data", "--prepare", "--sweep", "--compare", "--report", "--save", "--from", "--list",
    "--dry-run", "--self", "--update-baseline", "--exit-zero", "--verify", "--remove", "--quiet", "--verbose",
    "--debug", "--help", "--help-all",
}  # fmt: skip
"""Without them there is none of what they name."""

MEANINGS = {
    "--output": "a file of records; a folder of a run",
    "--mode": "of one's own captions; as published",
    "--epsilon": "of one's own captions; as published",
    "--precision": "of a model that is asked; of one that learns",
    "--batch-size": "of a model that is asked; of one that learns",
    "--by": "of what is scored; of what is learned from",
    "--check": "words; sentences",
    "--margin": "of a sentence; of a comparison",
    "--verify": "files of models; records of an output",
    "--top": "words of a table; classes",
    "--explain": "words on the picture; crops and sentences of a class",
    "--dataset": "a benchmark; classes",
    "--format": "with records; without",
    "--limit": "records; samples",
    "--columns": "of an input; of labeled texts",
    "--model": "the same, but for the default",
    "--template": "the same, but for the default",
    "--stretch": "the same, but for the default",
    "--dry-run": "what would be fetched; what can be measured",
}
"""Options whose help differs between commands because they mean something else there."""


def long_name(option: Any) -> str:
    return next(str(name) for name in option.opts if name.startswith("--"))


EVERY = [(command, long_name(one), one) for command in COMMANDS for one in options_of(command).values()]
NAMED = pytest.mark.parametrize(("command", "name", "option"), EVERY, ids=[f"{c} {n}" for c, n, _ in EVERY])


@NAMED
def test_the_help_of_an_option_says_what_holds_without_it(command: str, name: str, option: Any) -> None:
    assert ("[default: " in option.help) == (name not in NOTHING_BY_DEFAULT)


@NAMED
def test_the_help_of_a_number_says_what_it_counts(command: str, name: str, option: Any) -> None:
    is_number = option.metavar in ("N", "X", "K", "N%", "N|N%", "auto|N", "I/N")
    assert is_number == (name in QUANTITIES)
    if is_number:
        unit = OTHER_MEANINGS.get((command, name), QUANTITIES[name])
        assert unit.lower() in f"{option.help} {option.metavar}".lower()


def test_the_same_option_has_the_same_words_and_names_in_all_commands() -> None:
    said: dict[str, set[tuple[str, str | None, str | None]]] = {}
    for _, name, option in EVERY:
        names = " ".join(sorted([*option.opts, *option.secondary_opts]))
        said.setdefault(name, set()).add((names, option.metavar, option.help))
    assert {name for name, found in said.items() if len(found) > 1} == set(MEANINGS)
    assert all(len({names for names, _, _ in found}) == 1 for found in said.values())


def test_a_default_that_help_names_is_the_one_that_holds() -> None:
    from clipalign.methods.settings import ClassifySettings, DetectSettings, LongSettings
    from clipalign.training.settings import Intervals, SpecsSettings

    holders = {
        "detect": (DetectSettings(),),
        "classify": (ClassifySettings(),),
        "score-long": (LongSettings(),),
        "train-specs": (SpecsSettings(), Intervals()),
    }
    checked = 0
    for command, objects in holders.items():
        for name, option in options_of(command).items():
            said = (option.help or "").partition("[default: ")[2].rstrip("]").partition(",")[0].strip('"')
            for one in objects:
                held = getattr(one, name, None)
                if name == "precision" or isinstance(held, bool) or not isinstance(held, int | float | str):
                    continue
                if said.replace(".", "").replace("e-", "").isdigit():
                    assert float(said) == float(held), (command, name)
                    checked += 1
                elif isinstance(held, str) and said:
                    assert said == held, (command, name)
                    checked += 1
    assert checked >= 20


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_a_screen_and_a_half_and_help_all_says_the_rest_in_the_same_words(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    page = run_here(capsys, command, "--help").out
    some, everything = (" ".join(text.split()) for text in (page, run_here(capsys, command, "--help-all").out))
    assert len(page.splitlines()) <= 75
    shown = COMMANDS[command].shown.split()
    assert set(shown) <= options_of(command).keys()
    for name, option in options_of(command).items():
        entry = f"{option.metavar or ''} {option.help}".strip()
        assert entry in everything
        assert entry in some or name not in shown
    assert f"more options, settings files, exit statuses: clipalign {command} --help-all" in some or not shown


def test_the_names_of_other_tools_are_translated() -> None:
    for ours, theirs in OTHER_TOOLS.items():
        options = [one for command in COMMANDS for one in options_of(command).values()]
        known = {name for one in options for name in one.opts}
        assert ours.split()[0] in known
        for name in theirs.split():
            assert name not in known, f"{name} is an option here"
            assert translation(name.replace("-", "_").replace("__", "--", 1), known).startswith("here it is --")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("detect a.png text --json", "here it is --format json"),
        ("detect a.png --caption text", "it is an argument: clipalign detect IMAGE TEXT"),
        ("detect --image_column path", "here it is --columns image=NAME"),
        ("eval --tasks foil", "here it is --dataset"),
        ("train-specs --lr 1", "here it is --learning-rate"),
        ("score-long a.png --prompt text", "it is an argument: clipalign score-long IMAGE TEXT…"),
    ],
)
def test_an_option_of_another_tool_is_answered_with_ours(
    capsys: pytest.CaptureFixture[str], line: str, hint: str
) -> None:
    run = run_here(capsys, *line.split())
    assert run.status == 2 and f"hint: {hint}\n" in run.err


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_ends_before_a_default(capsys: pytest.CaptureFixture[str], command: str) -> None:
    page = run_here(capsys, command, "--help-all").out
    assert "[default:\n" not in page
    assert "\N{NO-BREAK SPACE}" not in page
