"""``clipalign detect``: one image and one text, or many pairs; what was found is the exit status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from clipalign.calibration import Drift
from clipalign.commands.common import (
    OF_MANY,
    ImageArgument,
    check_image,
    check_text,
    refuse_for_one,
    run_many,
    run_one,
    wants_many,
)
from clipalign.commands.options import expand_options
from clipalign.config.groups import RecordSettings
from clipalign.config.readers import count_or_share, finite, texts, whole
from clipalign.config.settings import Setting, refuse
from clipalign.errors import EXIT_DONE, EXIT_FOUND, UsageError
from clipalign.files import write_whole, writing
from clipalign.methods.settings import DetectSettings
from clipalign.models.registry import find_model
from clipalign.output.console import notices
from clipalign.runs.distributed import launched_processes

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipalign.data.records import Input
    from clipalign.methods.detect import DetectScorer
    from clipalign.models.model import LoadedModel
    from clipalign.output.detect import DetectFormatter
    from clipalign.output.policy import Policy
    from clipalign.results import DetectResult


@dataclass(frozen=True, kw_only=True)
class DetectOptions(DetectSettings, RecordSettings):
    panel = "Scoring"

    reference: Annotated[
        tuple[str, ...],
        Setting(
            "A caption known to be right, for RefCLIPScore. May be repeated.",
            texts,
            value="TEXT",
            file=False,
            variable=False,
        ),
    ] = ()
    top: Annotated[
        int | None,
        Setting(
            "Show only the N most negative words of the table.",
            whole(1),
            value="N",
            default="all, in reading order",
            panel="Output",
        ),
    ] = None
    check: Annotated[bool, Setting("Exit with status 1 when any word is misaligned.", panel="Check")] = False
    max_misaligned: Annotated[
        float,
        Setting(
            "captions with a finding that pass, a number or a share of all.",
            count_or_share,
            value="N|N%",
            panel="Check",
            needs="check",
        ),
    ] = 0
    min_clip_score: Annotated[
        float | None,
        Setting(
            "a lower CLIPScore is a finding too.",
            finite,
            value="X",
            default="any passes",
            panel="Check",
            needs="check",
        ),
    ] = None
    ignore_words: Annotated[
        Path | None,
        Setting(
            "words that are no finding, one a line.",
            value="FILE",
            default="none",
            panel="Check",
            needs="check",
            file=False,
        ),
    ] = None
    baseline: Annotated[
        Path | None,
        Setting(
            "an earlier output, .jsonl or .json; what it found of the same image and text is no finding.",
            value="FILE",
            default="none",
            panel="Check",
            needs="check",
            file=False,
        ),
    ] = None
    update_baseline: Annotated[
        bool,
        Setting(
            "write the findings of this run to --baseline, and pass.",
            plain=True,
            panel="Check",
            needs="check",
            file=False,
            variable=False,
        ),
    ] = False
    exit_zero: Annotated[
        bool, Setting("exit with status 0 whatever it finds.", plain=True, panel="Check", needs="check")
    ] = False


@expand_options("detect")
def detect(
    image: ImageArgument = None,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What is said about the image, in quotes.")] = None,
    *,
    settings: DetectOptions,
) -> int:
    """Say which words of a text do not fit an image, and how well the whole text does; for one pair or many.

    Every word gets a signed number: below zero it lowers the similarity of text and image (CLIP4DM, arXiv 2412.18404).
    CLIPScore runs from 0 to 2.5 and F-CLIPScore up to 0; for both, higher fits better.

    Examples:
      clipalign detect photo.jpg "a cup of coke"
      clipalign detect photo.jpg "a cup of coke" --check || echo "does not fit"
      clipalign detect scene.png "two red apples" --model pictogram --offline
      curl -s https://example.org/a.jpg | clipalign detect - "a cat" --format json
      clipalign detect --input pairs.csv --image-root photos -o found.jsonl
      clipalign detect --input pairs.csv --image-root photos -o found.jsonl --resume
      clipalign detect --input photos/ --output found.html
      clipalign detect --input 'shards/*.tar' --shard 1/8 -o part1.jsonl
      clipalign detect --input pairs.csv --check --max-misaligned 5%
    """
    if wants_many(settings, {"IMAGE": image, "TEXT": text}):
        _check_many(settings)
        return _detect_many(settings)
    if image is None or text is None:
        missing = [name for name, given in (("IMAGE", image), ("TEXT", text)) if given is None]
        hint = "clipalign detect IMAGE TEXT, or --input FILE for many; see clipalign detect --help"
        raise UsageError(f"missing {' and '.join(missing)}", hint=hint, input=missing[0])
    refuse_for_one(settings, (*OF_MANY, "max_misaligned", "update_baseline"))
    check_image(image, settings)
    check_text("TEXT", text)
    for reference in settings.reference:
        check_text("--reference", reference, needs_word=False)
    if settings.on_error == "skip":
        return _detect_many(settings, _one_record(image, text, settings.reference))
    return _detect_one(image, text, settings)


def _check_many(settings: DetectOptions) -> None:
    of_one = "{} is for one pair"
    refuse(settings, ["reference"], of_one, hint="write them into a column references of the input")
    refuse(settings, ["top"], of_one, hint="the table of many has a line per pair")
    if settings.shard or launched_processes().size > 1:
        of_all = ("update_baseline", "max_misaligned")
        refuse(settings, of_all, "{} needs all records", hint="run it in one process, without --shard")


def _policy(settings: DetectOptions) -> Policy | None:
    """What --check finds, None without it; its files are read before a model is loaded."""
    if not settings.check:
        return None
    if settings.update_baseline and settings.baseline is None:
        raise UsageError("--update-baseline needs --baseline", hint="name the file", input="--update-baseline")

    from clipalign.data.classes import read_lines
    from clipalign.data.outputs import read_outputs
    from clipalign.data.word_kinds import bare
    from clipalign.output.policy import Policy
    from clipalign.runs.destination import refuse_sources

    ignored = read_lines(settings.ignore_words, what="words") if settings.ignore_words else []
    policy = Policy(settings.max_misaligned, settings.min_clip_score, frozenset(map(bare, ignored)))
    if settings.baseline is None or (settings.update_baseline and not settings.baseline.exists()):
        return policy
    if settings.update_baseline:
        refuse_sources(settings.baseline, settings.input, "an --input", option="--baseline")
    try:
        known = policy.knowing(read_outputs(settings.baseline))
        return policy if settings.update_baseline else known  # what is replaced must be a baseline too
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--baseline {settings.baseline} is no output of detect", hint="give a .jsonl of it", input="--baseline"
        ) from error


def _detect_one(image: str, text: str, settings: DetectOptions) -> int:
    find_model(settings.model)  # a mistyped name is told before anything heavy is imported

    from clipalign.output.detect import DetectFormatter

    policy = _policy(settings)

    settings = replace(settings, fast_decode=False)  # of a settings file; one image is decoded in full

    def score(loaded: LoadedModel, picture: Image) -> list[DetectResult]:
        from clipalign.methods.detect import Pair, detect_pairs

        _warn_of_epsilon(loaded, settings)
        return detect_pairs(loaded, [Pair(picture, text, references=settings.reference, image_name=image)], settings)

    (result,) = run_one(settings, DetectFormatter(top=settings.top, policy=policy), image, score)
    found = policy is not None and bool(policy.findings(result.to_dict()))
    return EXIT_FOUND if found and not settings.exit_zero else EXIT_DONE


def _warn_of_epsilon(loaded: LoadedModel, settings: DetectOptions) -> None:
    from clipalign.methods.detect import epsilon_note

    if note := epsilon_note(loaded, settings):
        notices.warn(note)


def _one_record(image: str, text: str, references: tuple[str, ...]) -> Input:
    """Make one pair an input of one record, so that an error becomes a record too."""
    from clipalign.data.records import Input, InputRecord, Place

    return Input.of([InputRecord(image, image, image, text, references, Place(image, 0, 0))])


def _detect_many(settings: DetectOptions, source: Input | None = None) -> int:
    from clipalign.output.detect import DetectFormatter

    policy = _policy(settings)
    drift = None if settings.calibration is None else Drift(settings.calibration)
    formatter = DetectFormatter(policy=policy, drift=drift)

    def scorer(loaded: LoadedModel) -> DetectScorer:
        from clipalign.methods.detect import DetectScorer

        _warn_of_epsilon(loaded, settings)
        return DetectScorer.of(loaded, settings)

    with _new_baseline(settings, formatter):
        check = settings.check and not settings.exit_zero and not settings.update_baseline
        return run_many(settings, formatter, scorer, source=source, check=check)


@contextmanager
def _new_baseline(settings: DetectOptions, formatter: DetectFormatter) -> Iterator[None]:
    """Collect the findings of the run in a temporary file, and replace the baseline when it ends well."""
    if not settings.update_baseline:
        yield
        return
    assert settings.baseline is not None
    import tempfile  # only here: --help does without it

    with tempfile.TemporaryFile() as lines:
        formatter.baseline = cast(BinaryIO, lines)
        yield
        lines.seek(0)
        with writing(settings.baseline, hint="give another --baseline"):
            write_whole(settings.baseline, iter(lambda: lines.read(1 << 20), b""))
        notices.tell(f"{settings.baseline} holds the findings of this run: later runs pass with them")
