"""``clipalign detect``: one image, one text; result to stdout, warnings to stderr, what was found as exit status."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from clipalign import options
from clipalign.commands.model import choose_model
from clipalign.errors import EXIT_DONE, EXIT_FOUND, UsageError
from clipalign.registry import find_model
from clipalign.report import chosen_format, configure, render
from clipalign.report.console import notices
from clipalign.settings import Settings, resolve

if TYPE_CHECKING:
    from clipalign.results import DetectResult

STDIN = "-"


def detect(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A path, an http(s) URL, or - for standard input.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is said about the image, in quotes.")],
    mode: options.Mode = None,
    epsilon: options.Epsilon = None,
    layers: options.Layers = None,
    template: options.Template = None,
    alignment: options.Alignment = None,
    reference: options.Reference = None,
    format: options.Format = None,
    top: options.Top = None,
    check: options.Check = None,
    model: options.Model = None,
    device: options.Device = None,
    precision: options.Precision = None,
    batch_size: options.BatchSize = None,
    threads: options.Threads = None,
    seed: options.Seed = None,
    cache_dir: options.CacheDir = None,
    offline: options.Offline = None,
    quiet: options.Quiet = None,
    verbose: options.Verbose = None,
    debug: options.Debug = None,
) -> int:
    """Say which words of a text do not fit an image, and how well the whole text does.

    Every word gets a signed number: below zero it pulls text and image apart (CLIP4DM, arXiv 2412.18404). CLIPScore
    runs from 0 to 2.5 and F-CLIPScore up to 0; for both, higher fits better.

    Examples:
      clipalign detect photo.jpg "a cup of coke"
      clipalign detect photo.jpg "a cup of coke" --check || echo "does not fit"
      clipalign detect scene.png "two red apples" --model pictogram --offline
      curl -s https://example.org/a.jpg | clipalign detect - "a cat" --format json
    """
    typed = {
        "mode": mode, "epsilon": epsilon, "layers": layers, "template": template, "alignment": alignment,
        "format": format, "top": top, "check": check,
        "model": model, "device": device, "precision": precision, "batch_size": batch_size, "threads": threads,
        "seed": seed, "cache_dir": cache_dir, "offline": offline,
        "quiet": quiet, "verbose": verbose, "debug": debug,
    }  # fmt: skip
    settings = resolve("detect", typed)
    configure(settings)
    references = tuple(reference or ())
    _check_image(image)
    for name, value in [("TEXT", text), *(("--reference", one) for one in references)]:
        _check_text(name, value)
    _check_words(text)
    result = _detected(image, text, references, settings)
    for warning in result.warnings:
        notices.warn(warning)
    render(result, format=chosen_format(settings), top=settings.top)
    return EXIT_FOUND if settings.check and result.misaligned else EXIT_DONE


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
    from clipalign.pipeline.words import reported_words, split_words

    if not reported_words(split_words(text)):
        raise UsageError("TEXT has no word to score", hint="give at least one word, in quotes", input="TEXT")


def _detected(image: str, text: str, references: tuple[str, ...], settings: Settings) -> DetectResult:
    """The route, cheapest check first: names and files before torch, the picture before the model."""
    chosen = choose_model(find_model(settings.model), settings)

    from clipalign.methods.detect import Pair
    from clipalign.pipeline.images import open_image
    from clipalign.session import Session

    pair = Pair(open_image(image, offline=settings.offline), text, references=references, image_name=image)
    session = Session(chosen.load(), offline=settings.offline)
    names = ("mode", "epsilon", "layers", "template", "alignment", "batch_size", "seed")
    given = {name: getattr(settings, name) for name in names}
    return session.detect_many([pair], **{name: value for name, value in given.items() if value is not None})[0]
