"""Options of ``detect``; those of how words are scored are ``eval``'s too."""

from typing import Annotated, TypedDict

from clipalign.options.everywhere import EverywhereOptions, Format
from clipalign.options.many import ManyOptions
from clipalign.options.model import ModelOptions
from clipalign.options.option import OUTPUT_PANEL, SCORING_PANEL, option
from clipalign.settings.choices import ALIGNMENTS, MODES


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
