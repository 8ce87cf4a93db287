"""Options of ``classify``; those of how pictures and classes are compared are ``eval``'s too."""

from typing import Annotated, TypedDict

from clipalign.options.everywhere import EverywhereOptions, Format
from clipalign.options.many import ManyOptions
from clipalign.options.model import ModelOptions
from clipalign.options.option import OUTPUT_PANEL, SCORING_PANEL, option
from clipalign.settings.choices import DESCRIBED_DATASETS, METHODS

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
