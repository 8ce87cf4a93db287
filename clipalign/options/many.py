"""Many records: where they come from, where they go, and what happens when a run is cut or a record is bad."""

from typing import Annotated, TypedDict

from clipalign.options.option import MANY_PANEL, option
from clipalign.settings.choices import ERROR_RULES

ImageRoot = Annotated[
    str | None,
    option(
        "--image-root",
        value="DIR",
        help="Where relative image names of the input are looked for.",
        default="the working directory",
        panel=MANY_PANEL,
    ),
]
OnError = Annotated[
    str | None,
    option(
        "--on-error",
        value="|".join(ERROR_RULES),
        help="A record that cannot be read becomes a record with its error, or ends the run.",
        default="skip for many, fail for one",
        panel=MANY_PANEL,
        choices=ERROR_RULES,
    ),
]


class AgainOptions(TypedDict, total=False):
    """Of every command with an ``--output`` that may exist."""

    resume: Annotated[
        bool | None,
        option(
            "--resume/--no-resume",
            help="Go on where an earlier run into the same --output ended.",
            default="no",
            panel=MANY_PANEL,
        ),
    ]
    overwrite: Annotated[
        bool | None,
        option("--overwrite/--no-overwrite", help="Replace an --output that exists.", default="no", panel=MANY_PANEL),
    ]


class InputOptions(TypedDict, total=False):
    """Where records come from, and the file they go to."""

    input: Annotated[
        list[str] | None,
        option(
            "--input",
            "-i",
            value="FILE|DIR|-",
            help="Read many records: .jsonl, .json, .csv, .tsv, .parquet, a folder of pictures with .txt captions, "
            "WebDataset .tar, or - for JSON lines on standard input. May be repeated.",
            panel=MANY_PANEL,
        ),
    ]
    image_root: ImageRoot
    output: Annotated[
        str | None,
        option(
            "--output",
            "-o",
            value="FILE",
            help="Write there instead of to stdout, record by record; its ending may say the format.",
            panel=MANY_PANEL,
        ),
    ]


class PartOptions(TypedDict, total=False):
    """What of the input is done, and what of it may be wrong."""

    on_error: OnError
    timeout: Annotated[
        str | None,
        option(
            "--timeout",
            value="SECONDS",
            help="For a picture at an address, from asking to the last byte.",
            default="30",
            panel=MANY_PANEL,
        ),
    ]
    shard: Annotated[
        str | None,
        option(
            "--shard",
            value="I/N",
            help="Only part I of N of the input, I from 1 on; the outputs of all parts concatenate to the whole.",
            default="1/1",
            panel=MANY_PANEL,
        ),
    ]


class ManyOptions(InputOptions, AgainOptions, PartOptions, total=False):
    """Of commands that read many records."""
