"""What every command has: how much it says, and in which format it answers."""

from typing import Annotated, Final, TypedDict

from clipalign.options.option import OUTPUT_PANEL, option
from clipalign.settings.choices import FORMATS, FORMATS_OF

DOCUMENT_FORMATS: Final = FORMATS_OF["download"]
"""Of commands without records: ``download``, ``eval``, ``train-specs``."""

Format = Annotated[
    str | None,
    option(
        "--format",
        value="|".join(FORMATS),
        help="What to write.",
        default="table on a terminal, json elsewhere; for many, jsonl elsewhere, and what the ending of --output says",
        panel=OUTPUT_PANEL,
        choices=FORMATS,
    ),
]
DocumentFormat = Annotated[
    str | None,
    option(
        "--format",
        value="|".join(DOCUMENT_FORMATS),
        help="What to write.",
        default="table on a terminal, json elsewhere",
        panel=OUTPUT_PANEL,
        choices=DOCUMENT_FORMATS,
    ),
]
Quiet = Annotated[bool | None, option("--quiet", "-q", help="Nothing on stderr but errors.")]
Verbose = Annotated[bool | None, option("--verbose", "-v", help="Say why, and what other libraries warn of.")]
Debug = Annotated[bool | None, option("--debug", help="Show the traceback of an error.")]


class EverywhereOptions(TypedDict, total=False):
    """Of every command."""

    quiet: Quiet
    verbose: Verbose
    debug: Debug
