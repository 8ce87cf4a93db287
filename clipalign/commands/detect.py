"""Options of ``detect``; those of how words are scored are ``eval``'s too.

``clipalign detect``: one image and one text, or the pairs of an input; what was found is the exit status.

For one pair nothing but the result is written; pairs of an input go record by record through :mod:`.many`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, TypedDict, Unpack

import typer

from clipalign.commands.common import choose_model
from clipalign.commands.options import (
    OUTPUT_PANEL,
    SCORING_PANEL,
    EverywhereOptions,
    Format,
    ManyOptions,
    ModelOptions,
    one_by_one,
    option,
    settle,
)
from clipalign.config.choices import ALIGNMENTS, MODES
from clipalign.config.readers import flag_name
from clipalign.config.values import Settings
from clipalign.errors import EXIT_DONE, EXIT_FOUND, UsageError
from clipalign.models.registry import find_model
from clipalign.output import render
from clipalign.output.console import notices
from clipalign.runs.output import document_format, refuse_sources

if TYPE_CHECKING:
    from clipalign.data.records import Input
    from clipalign.methods.detect import DetectScorer
    from clipalign.methods.settings import DetectSettings
    from clipalign.models.model import LoadedModel


class WordOptions(TypedDict, total=False):
    """How words are scored."""

    mode: Annotated[
        str | None,
        option(
            "--mode",
            value="|".join(MODES),
            help="Call wrong every word below epsilon, or always the one most negative word.",
            default="threshold",
            panel=SCORING_PANEL,
            choices=MODES,
        ),
    ]
    epsilon: Annotated[
        str | None,
        option(
            "--epsilon",
            value="X",
            help="A word whose attribution is lower is misaligned.",
            default="the model's own",
            panel=SCORING_PANEL,
        ),
    ]
    layers: Annotated[
        str | None,
        option(
            "--layers",
            value="K",
            help="Text layers averaged, from the last.",
            default="the model's own",
            panel=SCORING_PANEL,
        ),
    ]
    template: Annotated[
        str | None,
        option(
            "--template", value="TEXT", help="Put before every text.", default='"A photo depicts "', panel=SCORING_PANEL
        ),
    ]
    alignment: Annotated[
        str | None,
        option(
            "--alignment",
            value="|".join(ALIGNMENTS),
            help="Which tokens make up a word: as the published code counts them, which slips where a run of "
            "punctuation joins two words (a warning says so), or those of its characters.",
            default="published",
            panel=SCORING_PANEL,
            choices=ALIGNMENTS,
        ),
    ]


class _DetectOptions(WordOptions, total=False):
    reference: Annotated[
        list[str] | None,
        option(
            "--reference",
            value="TEXT",
            help="A caption known to be right, for RefCLIPScore. May be repeated.",
            panel=SCORING_PANEL,
        ),
    ]
    format: Format
    top: Annotated[
        str | None,
        option(
            "--top",
            value="N",
            help="Show only the N most negative words of the table.",
            default="all, in reading order",
            panel=OUTPUT_PANEL,
        ),
    ]
    check: Annotated[
        bool | None,
        option(
            "--check/--no-check",
            help="Exit with status 1 when any word is misaligned.",
            default="no",
            panel=OUTPUT_PANEL,
        ),
    ]


class DetectOptions(ManyOptions, _DetectOptions, ModelOptions, EverywhereOptions, total=False):
    """Of ``detect``, in the order of its help."""


STDIN = "-"


@one_by_one
def detect(
    image: Annotated[
        str | None, typer.Argument(metavar="IMAGE", help="A path, an http(s) URL, or - for standard input.")
    ] = None,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What is said about the image, in quotes.")] = None,
    **typed: Unpack[DetectOptions],
) -> int:
    """Say which words of a text do not fit an image, and how well the whole text does; for one pair or many.

    Every word gets a signed number: below zero it pulls text and image apart (CLIP4DM, arXiv 2412.18404). CLIPScore
    runs from 0 to 2.5 and F-CLIPScore up to 0; for both, higher fits better.

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
    references = tuple(typed.pop("reference", None) or ())
    settings = settle("detect", typed)
    if typed["input"] or (settings.input and image is None and text is None):
        _check_many(
            [name for name, given in (("IMAGE", image), ("TEXT", text)) if given is not None], references, typed["top"]
        )
        return _detect_many(settings)
    _check_one(image, text, typed)
    assert image is not None and text is not None
    _check_image(image)
    for name, value in [("TEXT", text), *(("--reference", one) for one in references)]:
        _check_text(name, value)
    _check_words(text)
    refuse_sources(settings.output, [image], "IMAGE")
    if settings.on_error == "skip":
        return _detect_many(settings, _alone(image, text, references))
    return _detect_one(image, text, references, settings)


def _check_many(given: list[str], references: tuple[str, ...], top: str | None) -> None:
    """What belongs to one pair has no meaning for many."""
    if given:
        raise UsageError(
            f"{' and '.join(given)} and --input exclude each other",
            hint="give either; a pattern of several inputs needs quotes: --input 'shards/*.tar'",
            input=given[0],
        )
    if references:
        hint = "write them into a column references of the input"
        raise UsageError("--reference is for one pair", hint=hint, input="--reference")
    if top is not None:
        raise UsageError("--top is for one pair", hint="the table of many has a line a pair", input="--top")


def _check_one(image: str | None, text: str | None, typed: DetectOptions) -> None:
    missing = [name for name, given in (("IMAGE", image), ("TEXT", text)) if given is None]
    if missing:
        hint = "clipalign detect IMAGE TEXT, or --input FILE for many; see clipalign detect --help"
        raise UsageError(f"missing {' and '.join(missing)}", hint=hint, input=missing[0])
    for name, given in (("image_root", typed["image_root"]), ("resume", typed["resume"]), ("shard", typed["shard"])):
        if given:
            flag = flag_name(name)
            raise UsageError(f"{flag} is for many pairs", hint="give them with --input", input=flag)


def _check_image(image: str) -> None:
    if not image.strip():
        raise UsageError("IMAGE is empty", hint="give a path, an http(s) URL, or -", input="IMAGE")
    if image == STDIN and (sys.stdin is None or sys.stdin.isatty()):
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"IMAGE is - but standard input is {state}", hint="pipe a picture in", input="IMAGE")


def _check_text(name: str, text: str) -> None:
    if not text.strip():
        raise UsageError(f"{name} is empty", hint="give at least one word, in quotes", input=name)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not valid UTF-8", hint="is the terminal's locale right?", input=name) from None


def _check_words(text: str) -> None:
    """The method refuses such a text too, but only when a model is loaded."""
    from clipalign.data.words import reported_words, split_words

    if not reported_words(split_words(text)):
        raise UsageError("TEXT has no word to score", hint="give at least one word, in quotes", input="TEXT")


def _detect_one(image: str, text: str, references: tuple[str, ...], settings: Settings) -> int:
    """The route, cheapest check first: names and files before torch, the picture before the model."""
    format = document_format(settings)
    chosen = choose_model(find_model(settings.model), settings)

    from clipalign.data.images import open_image, thumbnail_of
    from clipalign.methods.detect import Pair, detect_pairs
    from clipalign.runs.writer import THUMBNAIL_PX

    picture = open_image(image, offline=settings.offline, timeout=settings.timeout)
    pair = Pair(picture, text, references=references, image_name=image)
    result = detect_pairs(chosen.load(), [pair], detect_settings(settings))[0]
    for warning in result.warnings:
        notices.warn(warning)
    render(
        result,
        format=format,
        top=settings.top,
        thumbnail=thumbnail_of(picture, THUMBNAIL_PX) if format == "html" else None,
        output=settings.output,
        overwrite=settings.overwrite,
    )
    return EXIT_FOUND if settings.check and result.misaligned else EXIT_DONE


def _alone(image: str, text: str, references: tuple[str, ...]) -> Input:
    """One pair as an input of one record, so that an error becomes a record too."""
    from clipalign.data.records import Input, InputRecord, Place

    return Input.of([InputRecord(image, image, image, text, references, Place(image, 0, 0))])


def _detect_many(settings: Settings, source: Input | None = None) -> int:
    from clipalign.commands.common import run_many
    from clipalign.output.detect import DetectView

    def scorer(loaded: LoadedModel) -> DetectScorer:
        from clipalign.methods.detect import DetectScorer

        return DetectScorer.of(loaded, detect_settings(settings))

    return run_many(settings, DetectView(), scorer, source=source)


def detect_settings(settings: Settings) -> DetectSettings:
    """The method's settings from those of the run."""
    from clipalign.methods.settings import DetectSettings

    names = ("mode", "epsilon", "layers", "template", "alignment", "batch_size", "seed")
    given = {name: getattr(settings, name) for name in names}
    return DetectSettings(**{name: value for name, value in given.items() if value is not None})
