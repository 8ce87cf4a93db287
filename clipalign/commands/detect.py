"""``clipalign detect``: one image and one text, or many pairs; what was found is the exit status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from clipalign.commands.common import (
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
from clipalign.config.readers import texts, whole
from clipalign.config.settings import Setting
from clipalign.errors import EXIT_DONE, EXIT_FOUND, UsageError
from clipalign.methods.settings import DetectSettings
from clipalign.models.registry import find_model
from clipalign.output.console import notices

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipalign.data.records import Input
    from clipalign.methods.detect import DetectScorer
    from clipalign.models.model import LoadedModel
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
    check: Annotated[bool, Setting("Exit with status 1 when any word is misaligned.", panel="Output")] = False


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
    """
    if wants_many(settings, {"IMAGE": image, "TEXT": text}):
        _check_many(settings)
        return _detect_many(settings)
    if image is None or text is None:
        missing = [name for name, given in (("IMAGE", image), ("TEXT", text)) if given is None]
        hint = "clipalign detect IMAGE TEXT, or --input FILE for many; see clipalign detect --help"
        raise UsageError(f"missing {' and '.join(missing)}", hint=hint, input=missing[0])
    refuse_for_one(settings, ("columns", "keep_columns", "image_root", "limit", "resume", "shard"))
    check_image(image, settings)
    check_text("TEXT", text)
    for reference in settings.reference:
        check_text("--reference", reference, needs_word=False)
    if settings.on_error == "skip":
        return _detect_many(settings, _one_record(image, text, settings.reference))
    return _detect_one(image, text, settings)


def _check_many(settings: DetectOptions) -> None:
    if settings.reference:
        hint = "write them into a column references of the input"
        raise UsageError("--reference is for one pair", hint=hint, input="--reference")
    if "top" in settings.typed:
        raise UsageError("--top is for one pair", hint="the table of many has a line per pair", input="--top")


def _detect_one(image: str, text: str, settings: DetectOptions) -> int:
    find_model(settings.model)  # a mistyped name is told before anything heavy is imported

    from clipalign.output.detect import DetectFormatter

    def score(loaded: LoadedModel, picture: Image) -> list[DetectResult]:
        from clipalign.methods.detect import Pair, detect_pairs

        _warn_of_epsilon(loaded, settings)
        return detect_pairs(loaded, [Pair(picture, text, references=settings.reference, image_name=image)], settings)

    (result,) = run_one(settings, DetectFormatter(top=settings.top), image, score)
    return EXIT_FOUND if settings.check and result.misaligned else EXIT_DONE


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

    def scorer(loaded: LoadedModel) -> DetectScorer:
        from clipalign.methods.detect import DetectScorer

        _warn_of_epsilon(loaded, settings)
        return DetectScorer.of(loaded, settings)

    return run_many(settings, DetectFormatter(), scorer, source=source, check=settings.check)
