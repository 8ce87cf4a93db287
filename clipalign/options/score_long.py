"""Options of ``score-long``."""

from typing import Annotated, TypedDict

from clipalign.options.everywhere import EverywhereOptions, Format
from clipalign.options.many import ManyOptions
from clipalign.options.model import ModelOptions
from clipalign.options.option import OUTPUT_PANEL, SCORING_PANEL, option
from clipalign.settings.choices import PIECES

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
