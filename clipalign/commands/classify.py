"""``clipalign classify``: pictures and classes; the best classes of each, and with ``--explain`` why.

For one picture nothing but the result is written; several go record by record through :mod:`.many`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final, Unpack

import typer

from clipalign.batch.destination import document_format, refuse_sources
from clipalign.commands.classes import describe_with_model, read_classes, ready_classifier
from clipalign.commands.model import choose_model
from clipalign.commands.settled import settle
from clipalign.errors import EXIT_DONE, UsageError
from clipalign.options.classify import ClassifyOptions
from clipalign.options.option import one_by_one
from clipalign.registry import find_model
from clipalign.report import render
from clipalign.report.console import notices
from clipalign.settings import Settings, flag_name

if TYPE_CHECKING:
    from clipalign.inputs.pictures import Pictures
    from clipalign.methods.classify_batch import ClassifyScorer
    from clipalign.pipeline.descriptions import Classes
    from clipalign.pipeline.loaded import LoadedModel

STDIN: Final = "-"

LARGE_PX: Final = 640
"""Longer side of the picture on a page of its own."""


@one_by_one
def classify(
    image: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE…", help="Paths, folders of pictures, http(s) URLs, or - for standard input."),
    ] = None,
    **typed: Unpack[ClassifyOptions],
) -> int:
    """Say which class a picture shows, and with --explain which part of it and which sentence said so.

    Random crops of the picture meet sentences about each class, both weighted (WCA, arXiv 2406.02915). A score is a
    cosine, -1 to 1; higher fits better, and only scores of one picture compare.

    Examples:
      clipalign classify photo.jpg --labels animals.txt
      clipalign classify photo.jpg --descriptions animals.json --explain
      clipalign classify photo.jpg --descriptions a.json --explain -o why.html
      clipalign classify photos/ --descriptions animals.json --output found.csv
      clipalign classify a.jpg --labels animals.txt --describe-with URL MODEL
    """
    describe_with = typed.pop("describe_with", None)
    settings = settle("classify", typed)
    pictures = _pictures(image or [], settings, typed)
    refuse_sources(settings.output, image or [], "IMAGE")
    if pictures is not None and pictures.single and settings.on_error != "skip":
        return _classify_one(pictures.names[0], settings, describe_with)
    return _classify_many(pictures, settings, describe_with)


def _pictures(images: list[str], settings: Settings, typed: ClassifyOptions) -> Pictures | None:
    """What was named as arguments, looked at; None where ``--input`` has the pictures."""
    if typed["input"] or (settings.input and not images):
        if images:
            raise UsageError("IMAGE and --input exclude each other", hint="give either", input="IMAGE")
        return None
    if not images:
        raise UsageError(
            "missing IMAGE", hint="give pictures, folders of pictures, or --input FILE; see --help", input="IMAGE"
        )
    if typed["image_root"]:
        raise UsageError(
            "--image-root is for --input", hint="name the pictures with their folder", input="--image-root"
        )
    for one in images:
        if not one.strip():
            raise UsageError("IMAGE is empty", hint="give a path, an http(s) URL, or -", input="IMAGE")
    if images.count(STDIN) > 1:
        raise UsageError("standard input can be read once", hint="give - once", input="IMAGE")
    if STDIN in images and (sys.stdin is None or sys.stdin.isatty()):
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"IMAGE is - but standard input is {state}", hint="pipe a picture in", input="IMAGE")

    from clipalign.inputs.pictures import Pictures

    pictures = Pictures(images)
    if pictures.single:
        for name, given in (("resume", typed["resume"]), ("shard", typed["shard"])):
            if given:
                flag = flag_name(name)
                raise UsageError(f"{flag} is for many pictures", hint="name several, or a folder", input=flag)
    pictures.check()
    return pictures


def _classify_one(image: str, settings: Settings, describe_with: tuple[str, str] | None) -> int:
    """The route, cheapest check first: files and names before torch, the picture before the model."""
    format = document_format(settings)
    row = find_model(settings.model)
    classes = read_classes(settings, describe_with)
    chosen = choose_model(row, settings)
    classes = describe_with_model(classes, describe_with, settings)

    from clipalign.pipeline.images import open_image, thumbnail_of

    picture = open_image(image, offline=settings.offline, timeout=settings.timeout)
    result = ready_classifier(chosen.load(), classes, settings).classify(picture, image_name=image)
    for warning in result.warnings:
        notices.warn(warning)
    render(
        result,
        format=format,
        thumbnail=thumbnail_of(picture, LARGE_PX) if format == "html" else None,
        output=settings.output,
        overwrite=settings.overwrite,
    )
    return EXIT_DONE


def _classify_many(pictures: Pictures | None, settings: Settings, describe_with: tuple[str, str] | None) -> int:
    from clipalign.commands.many import run_many
    from clipalign.report.classify import ClassifyView

    classes: Classes = read_classes(settings, describe_with)

    def scorer(loaded: LoadedModel) -> ClassifyScorer:
        from clipalign.methods.classify_batch import ClassifyScorer

        described = describe_with_model(classes, describe_with, settings)
        return ClassifyScorer(ready_classifier(loaded, described, settings))

    return run_many(settings, ClassifyView(), scorer, source=pictures, needs_text=False)
