"""``clipalign score-long``: an image and long texts, or many pairs; what every sentence does to the score."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from clipalign.commands.common import (
    OF_MANY,
    STDIN,
    ImageArgument,
    check_image,
    check_text,
    refuse_for_one,
    run_many,
    run_one,
    wants_many,
)
from clipalign.commands.options import expand_options
from clipalign.config.groups import ModelSettings, RecordSettings
from clipalign.config.settings import SameAs, Setting
from clipalign.errors import EXIT_DONE, EXIT_FOUND, InputUnreadable, UsageError
from clipalign.files import read_text_bytes, read_to_end
from clipalign.methods.settings import LongSettings
from clipalign.models.registry import LONG_MODEL, find_model
from clipalign.runs.destination import refuse_sources

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipalign.data.records import Input
    from clipalign.methods.score_long import LongScorer
    from clipalign.models.model import LoadedModel
    from clipalign.results import LongResult

MAX_TEXT_BYTES: Final = 10_000_000
"""Largest text file, far more than any model reads."""


@dataclass(frozen=True, kw_only=True)
class ScoreLongOptions(LongSettings, RecordSettings):
    panel = "Scoring"

    model: Annotated[str, SameAs(ModelSettings, default=LONG_MODEL)] = LONG_MODEL
    text_file: Annotated[
        tuple[str, ...],
        Setting("A file with one text, in UTF-8; - for standard input. May be repeated.", value="FILE", file=False),
    ] = ()
    check: Annotated[
        bool,
        Setting("Exit with status 1 when any sentence lowers the score by more than --margin.", panel="Output"),
    ] = False


@expand_options("score-long")
def score_long(
    image: ImageArgument = None,
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT…", help="What is said about the image, in quotes; several texts are ranked."),
    ] = None,
    *,
    settings: ScoreLongOptions,
) -> int:
    """Say how well a long text fits an image, which sentences raise or lower the score; for one pair or many.

    The score is (cosine + 1) / 2, 0 to 1; higher fits better (SPECS, arXiv 2509.03897). A sentence's increment is what
    it adds to the score of the text before it, its contribution what it does to the score wherever it stands. Texts of
    up to 248 tokens are read; what lies beyond is reported.

    Examples:
      clipalign score-long photo.jpg "A dog runs. It is brown. A cat watches."
      clipalign score-long photo.jpg --text-file caption.txt --by phrase
      clipalign score-long photo.jpg "A dog." "A dog on a sofa." --margin 0.01
      clipalign score-long scene.png "There is a cat." --model pictogram-long
      clipalign score-long --input pairs.csv --image-root photos -o found.html
    """
    text_file = settings.text_file if "text_file" in settings.typed else ()
    if wants_many(settings, {"IMAGE": image, "TEXT": text, "--text-file": text_file}):
        return _score_many(settings)
    if image is None or not image.strip():
        said = "missing IMAGE" if image is None else "IMAGE is empty"
        hint = "clipalign score-long IMAGE TEXT, or --input FILE for many; see clipalign score-long --help"
        raise UsageError(said, hint=hint, input="IMAGE")
    refuse_for_one(settings, OF_MANY)
    texts = _texts(image, text or [], settings)
    refuse_sources(settings.output, settings.text_file, "a --text-file")
    if settings.on_error == "skip":
        return _score_many(settings, _records(image, texts))
    return _score_one(image, texts, settings)


def _texts(image: str, typed: list[str], settings: ScoreLongOptions) -> list[tuple[str, str]]:
    """Return identifier and text of everything to score, those of the command line first, checked."""
    if not typed and not settings.text_file:
        raise UsageError("missing TEXT", hint="give a text in quotes, or --text-file FILE", input="TEXT")
    if [image, *settings.text_file].count(STDIN) > 1:
        raise UsageError("only one of IMAGE and --text-file can be -", hint="standard input is read once", input=STDIN)
    check_image(image, settings)
    given = [("TEXT", text) for text in typed] + [(name, _read(name)) for name in settings.text_file]
    for name, text in given:
        if name == "TEXT" and text.lower().endswith(".txt") and not text.split()[1:]:
            hint = f"to score what it holds: --text-file {shlex.quote(text)}"
            raise UsageError(f"{text} is the name of a file, not a text", hint=hint, input=text)
        check_text(name, text)
    if len(given) == 1:
        return [(image, given[0][1])]
    return [(str(number) if name == "TEXT" else name, text) for number, (name, text) in enumerate(given, 1)]


def _read(name: str) -> str:
    if name == STDIN and sys.stdin is None:
        raise UsageError("--text-file is - but standard input is closed", input="--text-file")
    try:
        if name == STDIN:
            content = read_to_end(sys.stdin.buffer, MAX_TEXT_BYTES)
        else:
            content = read_text_bytes(Path(name).expanduser(), MAX_TEXT_BYTES)
        return content.decode("utf-8-sig")
    except OSError as error:
        hint = "is the name right?" if isinstance(error, FileNotFoundError) else ""
        raise InputUnreadable(f"{name} cannot be read: {error.strerror}", hint=hint, input=name) from error
    except UnicodeDecodeError:
        raise InputUnreadable(f"{name} is not text in UTF-8", hint="convert it first", input=name) from None


def _score_one(image: str, texts: list[tuple[str, str]], settings: ScoreLongOptions) -> int:
    find_model(settings.model)  # a mistyped name is told before anything heavy is imported

    from clipalign.output.score_long import ScoreLongFormatter

    settings = replace(settings, fast_decode=False)  # of a settings file; one image is decoded in full

    def score(loaded: LoadedModel, picture: Image) -> list[LongResult]:
        from clipalign.methods.detect import Pair
        from clipalign.methods.score_long import score_long_pairs

        return score_long_pairs(loaded, [Pair(picture, text, id=id, image_name=image) for id, text in texts], settings)

    results = run_one(settings, ScoreLongFormatter(), image, score)
    return EXIT_FOUND if settings.check and any(result.lowering for result in results) else EXIT_DONE


def _records(image: str, texts: list[tuple[str, str]]) -> Input:
    from clipalign.data.records import Input, InputRecord, Place

    return Input.of(
        [InputRecord(id, image, image, text, (), Place(image, 0, at)) for at, (id, text) in enumerate(texts)]
    )


def _score_many(settings: ScoreLongOptions, source: Input | None = None) -> int:
    from clipalign.output.score_long import ScoreLongFormatter

    def scorer(loaded: LoadedModel) -> LongScorer:
        from clipalign.methods.score_long import LongScorer

        return LongScorer(loaded, settings)

    return run_many(settings, ScoreLongFormatter(), scorer, source=source, check=settings.check)
