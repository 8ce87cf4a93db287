"""Options of ``score-long``.

``clipalign score-long``: a picture and long texts, or the pairs of an input; what every sentence does to the score.

Texts about one picture are ranked in one table; pairs of an input go record by record through :mod:`.many`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypedDict, Unpack

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
from clipalign.config.choices import PIECES
from clipalign.config.readers import flag_name
from clipalign.config.values import Settings
from clipalign.errors import EXIT_DONE, EXIT_FOUND, InputUnreadable, UsageError
from clipalign.files import open_plain
from clipalign.models.registry import find_model
from clipalign.output.console import notices
from clipalign.runs.output import document_format, refuse_sources

if TYPE_CHECKING:
    from clipalign.data.records import Input
    from clipalign.methods.score_long import LongScorer, LongSettings
    from clipalign.models.model import LoadedModel


By = Annotated[
    str | None,
    option(
        "--by",
        value="|".join(PIECES),
        help="What the text is cut into.",
        default="sentence",
        panel=SCORING_PANEL,
        choices=PIECES,
    ),
]


class _LongOptions(TypedDict, total=False):
    text_file: Annotated[
        list[str] | None,
        option(
            "--text-file",
            value="FILE",
            help="A file with one text, in UTF-8; - for standard input. May be repeated.",
            panel=SCORING_PANEL,
        ),
    ]
    by: By
    margin: Annotated[
        str | None,
        option(
            "--margin",
            value="X",
            help="A sentence is marked, and found by --check, when it lowers the score by more.",
            default="0",
            panel=SCORING_PANEL,
        ),
    ]
    stretch: Annotated[
        bool | None,
        option(
            "--stretch/--no-stretch",
            help="Whether a model of fewer than 248 tokens has its positions stretched, as Long-CLIP's were before its "
            "training, or reads its own context and no further.",
            default="stretch",
            panel=SCORING_PANEL,
        ),
    ]
    format: Format
    check: Annotated[
        bool | None,
        option(
            "--check/--no-check",
            help="Exit with status 1 when any sentence lowers the score by more than --margin.",
            default="no",
            panel=OUTPUT_PANEL,
        ),
    ]


class ScoreLongOptions(_LongOptions, ManyOptions, ModelOptions, EverywhereOptions, total=False):
    """Of ``score-long``, in the order of its help."""


STDIN: Final = "-"
MAX_TEXT_BYTES: Final = 10_000_000
"""Of a text file; no model reads a thousandth of it, so what is larger was not meant."""


@one_by_one
def score_long(
    image: Annotated[
        str | None, typer.Argument(metavar="IMAGE", help="A path, an http(s) URL, or - for standard input.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT…", help="What is said about the image, in quotes; several texts are ranked."),
    ] = None,
    **typed: Unpack[ScoreLongOptions],
) -> int:
    """Say how well a long text fits an image, and which of its sentences earn or lose what; for one pair or many.

    The score is (cosine + 1) / 2, 0 to 1; higher fits better (SPECS, arXiv 2509.03897). A sentence's number is what it
    adds to the score of the text before it. Texts of up to 248 tokens are read; what lies beyond is reported.

    Examples:
      clipalign score-long photo.jpg "A dog runs. It is brown. A cat watches."
      clipalign score-long photo.jpg --text-file caption.txt --by phrase
      clipalign score-long photo.jpg "A dog." "A dog on a sofa." --margin 0.01
      clipalign score-long scene.png "There is a cat." --model pictogram-long
      clipalign score-long --input pairs.csv --image-root photos -o found.html
    """
    settings = settle("score-long", typed)
    if typed["input"] or (settings.input and image is None and not text):
        given = (("IMAGE", image), ("TEXT", text), ("--text-file", typed["text_file"]))
        _check_many([name for name, value in given if value])
        return _score_many(settings)
    _check_one(image, typed)
    image = str(image)
    texts = _texts(image, text or [], settings)
    refuse_sources(settings.output, [image], "IMAGE")
    refuse_sources(settings.output, settings.text_file, "a --text-file")
    if settings.on_error == "skip":
        return _score_many(settings, _listed(image, texts))
    return _score_here(image, texts, settings)


def _check_many(given: list[str]) -> None:
    if given:
        raise UsageError(
            f"{' and '.join(given)} and --input exclude each other",
            hint="give either; a pattern of several inputs needs quotes: --input 'shards/*.tar'",
            input=given[0],
        )


def _check_one(image: str | None, typed: ScoreLongOptions) -> None:
    """What is said about IMAGE, and options that have a meaning for inputs alone."""
    if image is None or not image.strip():
        said = "missing IMAGE" if image is None else "IMAGE is empty"
        hint = "clipalign score-long IMAGE TEXT, or --input FILE for many; see clipalign score-long --help"
        raise UsageError(said, hint=hint, input="IMAGE")
    for name, given in (("image_root", typed["image_root"]), ("resume", typed["resume"]), ("shard", typed["shard"])):
        if given:
            flag = flag_name(name)
            raise UsageError(f"{flag} is for many pairs", hint="give them with --input", input=flag)


def _texts(image: str, typed: list[str], settings: Settings) -> list[tuple[str, str]]:
    """Identifier and text of everything to score, those of the command line first, checked."""
    if not typed and not settings.text_file:
        raise UsageError("missing TEXT", hint="give a text in quotes, or --text-file FILE", input="TEXT")
    readers = [name for name in (image, *settings.text_file) if name == STDIN]
    if len(readers) > 1:
        raise UsageError("only one of IMAGE and --text-file can be -", hint="standard input is read once", input=STDIN)
    if image == STDIN and (sys.stdin is None or sys.stdin.isatty()):
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"IMAGE is - but standard input is {state}", hint="pipe a picture in", input="IMAGE")
    given = [("TEXT", text) for text in typed] + [(name, _read(name)) for name in settings.text_file]
    for name, text in given:
        _check_text(name, text)
    if len(given) == 1:
        return [(image, given[0][1])]
    return [(str(place) if name == "TEXT" else name, text) for place, (name, text) in enumerate(given, 1)]


def _read(name: str) -> str:
    """The text in a file.

    Raises:
        InputUnreadable: it is not there, no text in UTF-8, or far too large.
        UsageError: it is standard input, which is closed.
    """
    if name == STDIN and sys.stdin is None:
        raise UsageError("--text-file is - but standard input is closed", input="--text-file")
    try:
        if name == STDIN:
            content = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
        else:
            with open_plain(Path(name).expanduser()) as file:
                content = file.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            raise InputUnreadable(f"{name} is larger than {MAX_TEXT_BYTES // 1_000_000} MB", input=name)
        return content.decode("utf-8-sig")
    except OSError as error:
        hint = "is the name right?" if isinstance(error, FileNotFoundError) else ""
        raise InputUnreadable(f"{name} cannot be read: {error.strerror}", hint=hint, input=name) from error
    except UnicodeDecodeError:
        raise InputUnreadable(f"{name} is not text in UTF-8", hint="convert it first", input=name) from None


def _check_text(name: str, text: str) -> None:
    """The method refuses such texts too, but only when a model is loaded."""
    from clipalign.data.words import reported_words, split_words

    if not text.strip():
        raise UsageError(f"{name} is empty", hint="give at least one word", input=name)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not valid UTF-8", hint="is the terminal's locale right?", input=name) from None
    if not reported_words(split_words(text)):
        raise UsageError(f"{name} has no word to score", hint="give at least one word", input=name)


def long_settings(settings: Settings) -> LongSettings:
    """The method's settings from those of the run."""
    from clipalign.methods.score_long import LongSettings

    given = {name: getattr(settings, name) for name in ("by", "margin", "stretch", "batch_size", "seed")}
    return LongSettings(**{name: value for name, value in given.items() if value is not None})


def _score_here(image: str, texts: list[tuple[str, str]], settings: Settings) -> int:
    """The route, cheapest check first: names and files before torch, the picture before the model."""
    format = document_format(settings)
    chosen = choose_model(find_model(settings.model), settings)

    from clipalign.data.images import open_image, thumbnail_of
    from clipalign.methods.detect import Pair
    from clipalign.methods.score_long import score_long_pairs
    from clipalign.output.score_long import render_long
    from clipalign.runs.writer import THUMBNAIL_PX

    picture = open_image(image, offline=settings.offline, timeout=settings.timeout)
    pairs = [Pair(picture, text, id=id, image_name=image) for id, text in texts]
    results = score_long_pairs(chosen.load(), pairs, long_settings(settings))
    for result in results:
        for warning in result.warnings:
            notices.warn(warning if len(results) == 1 else f"text {result.id}: {warning}")
    render_long(
        results,
        format=format,
        thumbnail=thumbnail_of(picture, THUMBNAIL_PX) if format == "html" else None,
        output=settings.output,
        overwrite=settings.overwrite,
    )
    return EXIT_FOUND if settings.check and any(result.lowering for result in results) else EXIT_DONE


def _listed(image: str, texts: list[tuple[str, str]]) -> Input:
    """The texts of the command line as an input."""
    from clipalign.data.records import Input, InputRecord, Place

    return Input.of(
        [InputRecord(id, image, image, text, (), Place(image, 0, at)) for at, (id, text) in enumerate(texts)]
    )


def _score_many(settings: Settings, source: Input | None = None) -> int:
    from clipalign.commands.common import run_many
    from clipalign.output.score_long import ScoreLongView

    def scorer(loaded: LoadedModel) -> LongScorer:
        from clipalign.methods.score_long import LongScorer

        return LongScorer(loaded, long_settings(settings))

    return run_many(settings, ScoreLongView(), scorer, source=source)
