"""Options of ``classify``; those of how pictures and classes are compared are ``eval``'s too.

``clipalign classify``: pictures and classes; the best classes of each, and with ``--explain`` why.

For one picture nothing but the result is written; several go record by record through :mod:`.many`.
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
from clipalign.config.choices import DESCRIBED_DATASETS, METHODS
from clipalign.config.readers import flag_name
from clipalign.config.values import Settings
from clipalign.errors import EXIT_DONE, UsageError
from clipalign.files import is_folder
from clipalign.models.registry import find_model
from clipalign.output import render
from clipalign.output.console import notices
from clipalign.runs.output import document_format, refuse_sources

if TYPE_CHECKING:
    from clipalign.data.classes import Classes
    from clipalign.data.records import Input
    from clipalign.methods.classify import ClassifyScorer
    from clipalign.models.model import LoadedModel


DataRoot = Annotated[
    str | None,
    option(
        "--data-root",
        value="DIR",
        help="The data set's folder, or one that holds it under its name.",
        default="where download puts it",
        panel=SCORING_PANEL,
    ),
]


class ClassOptions(TypedDict, total=False):
    """How pictures and classes are compared."""

    descriptions: Annotated[
        str | None,
        option(
            "--descriptions",
            value="FILE",
            help="A JSON object: class name to a list of sentences.",
            panel=SCORING_PANEL,
        ),
    ]
    method: Annotated[
        str | None,
        option(
            "--method",
            value="|".join(METHODS),
            help="How pictures and classes are compared.",
            default="wca with descriptions, clip without",
            panel=SCORING_PANEL,
            choices=METHODS,
        ),
    ]
    crops: Annotated[
        str | None,
        option("--crops", value="N", help="Random crops of a picture.", default="60", panel=SCORING_PANEL),
    ]
    alpha: Annotated[
        str | None,
        option(
            "--alpha",
            value="X",
            help="Smallest side of a crop as a share of the picture's shorter side, 0 to 0.9.",
            default="0.5",
            panel=SCORING_PANEL,
        ),
    ]
    image_logscale: Annotated[
        str | None,
        option(
            "--image-logscale",
            value="X",
            help="How sharply crops that resemble the whole picture outweigh others.",
            default="4",
            panel=SCORING_PANEL,
        ),
    ]
    text_logscale: Annotated[
        str | None,
        option(
            "--text-logscale",
            value="X",
            help="How sharply descriptions that resemble the prompt outweigh others.",
            default="2",
            panel=SCORING_PANEL,
        ),
    ]
    prompt: Annotated[
        str | None,
        option(
            "--prompt",
            value="TEXT",
            help="The class in a sentence, {} for its name.",
            default='"a photo of a {}."',
            panel=SCORING_PANEL,
        ),
    ]
    templates: Annotated[
        str | None,
        option(
            "--templates",
            value="FILE",
            help="Prompts for clip-e, one a line, {} for the class.",
            default="the 80 of OpenAI's CLIP",
            panel=SCORING_PANEL,
        ),
    ]
    words: Annotated[
        str | None,
        option(
            "--words",
            value="FILE",
            help="Words for waffle, one a line.",
            default="what clipalign download waffle-words fetched",
            panel=SCORING_PANEL,
        ),
    ]


class _SourceOptions(TypedDict, total=False):
    labels: Annotated[
        str | None,
        option("--labels", value="FILE", help="Class names, a line each.", panel=SCORING_PANEL),
    ]
    dataset: Annotated[
        str | None,
        option(
            "--dataset",
            value="NAME",
            help=f"The classes and published descriptions of a data set: {', '.join(DESCRIBED_DATASETS)}.",
            panel=SCORING_PANEL,
            choices=DESCRIBED_DATASETS,
        ),
    ]
    data_root: DataRoot
    describe_with: Annotated[
        tuple[str, str] | None,
        option(
            "--describe-with",
            value="URL MODEL",
            help="Have classes described by a language model at an OpenAI-compatible address; the names of the classes "
            "are sent there, and OPENAI_API_KEY where it is set. What it writes is kept.",
            panel=SCORING_PANEL,
        ),
    ]


class _ShownOptions(TypedDict, total=False):
    top: Annotated[
        str | None,
        option("--top", value="N", help="Name the N best classes.", default="5", panel=OUTPUT_PANEL),
    ]
    explain: Annotated[
        bool | None,
        option(
            "--explain/--no-explain",
            help="Show which crops and sentences carried the score.",
            default="no",
            panel=OUTPUT_PANEL,
        ),
    ]
    format: Format


class ClassifyOptions(
    _SourceOptions, ClassOptions, _ShownOptions, ManyOptions, ModelOptions, EverywhereOptions, total=False
):
    """Of ``classify``, in the order of its help."""


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
    if pictures is not None and _is_one(image or []) and settings.on_error != "skip":
        return _classify_one(pictures.name, settings, describe_with)
    return _classify_many(pictures, settings, describe_with)


def _pictures(images: list[str], settings: Settings, typed: ClassifyOptions) -> Input | None:
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

    if _is_one(images):
        for name, given in (("resume", typed["resume"]), ("shard", typed["shard"])):
            if given:
                flag = flag_name(name)
                raise UsageError(f"{flag} is for many pictures", hint="name several, or a folder", input=flag)

    from clipalign.data.readers import open_pictures

    return open_pictures(images)


def _is_one(images: list[str]) -> bool:
    """Whether one picture is named, not a folder of them."""
    return len(images) == 1 and (images[0] == STDIN or not is_folder(Path(images[0]).expanduser()))


def _classify_one(image: str, settings: Settings, describe_with: tuple[str, str] | None) -> int:
    """The route, cheapest check first: files and names before torch, the picture before the model."""
    format = document_format(settings)
    row = find_model(settings.model)
    from clipalign.commands.classes import describe_with_model, read_classes, ready_classifier

    classes = read_classes(settings, describe_with)
    chosen = choose_model(row, settings)
    classes = describe_with_model(classes, describe_with, settings)

    from clipalign.data.images import open_image, thumbnail_of

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


def _classify_many(pictures: Input | None, settings: Settings, describe_with: tuple[str, str] | None) -> int:
    from clipalign.commands.classes import describe_with_model, read_classes, ready_classifier
    from clipalign.commands.common import run_many
    from clipalign.output.classify import ClassifyView

    classes: Classes = read_classes(settings, describe_with)

    def scorer(loaded: LoadedModel) -> ClassifyScorer:
        from clipalign.methods.classify import ClassifyScorer

        described = describe_with_model(classes, describe_with, settings)
        return ClassifyScorer(ready_classifier(loaded, described, settings))

    return run_many(settings, ClassifyView(), scorer, source=pictures, needs_text=False)
