"""How an option is made, and how a group of them becomes the signature that Typer reads.

What every command has: how much it says, and in which format it answers.

The model, the machine it runs on, and where weights are kept and come from.

Many records: where they come from, where they go, and what happens when a run is cut or a record is bad.

The first thing every command does: settle what it was asked for, and take up how much it is to say.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, TypedDict, TypeVar, get_args, get_type_hints

import typer

from clipalign.config.choices import DEVICES, ERROR_RULES, FORMATS, FORMATS_OF, PRECISIONS
from clipalign.config.sources import foreign_settings_files, resolve, unknown_variables
from clipalign.config.values import Settings
from clipalign.models.registry import DEFAULT_MODEL, LONG_MODEL, model_names
from clipalign.output import configure
from clipalign.output.console import notices

MODEL_PANEL: Final = "Model"
SCORING_PANEL: Final = "Scoring"
MANY_PANEL: Final = "Many at once"
DATA_PANEL: Final = "Data"
TRAINING_PANEL: Final = "Training"
OUTPUT_PANEL: Final = "Output"
TASK_PANEL: Final = "Task"

Function = TypeVar("Function", bound=Callable[..., Any])


def option(
    *names: str,
    help: str,
    value: str | None = None,
    default: str = "",
    panel: str | None = None,
    choices: Iterable[str] | Callable[[], Iterable[str]] = (),
) -> Any:
    """What stands behind the type in ``Annotated``.

    Args:
        names: its spellings, ``--name/--no-name`` for a switch.
        help: sentences; the unit of a quantity is among them.
        value: what stands for its value, choices parted by ``|``; None for a switch.
        default: what holds where it is not given, in words; empty where nothing does.
        panel: the heading it stands under.
        choices: what completes its value; files complete by the shell itself.
    """
    return typer.Option(
        *names,
        metavar=value,
        help=f"{help} [default: {default}]" if default else help,
        autocompletion=_beginning_with(choices) if choices else None,
        rich_help_panel=panel,
    )


def _beginning_with(choices: Iterable[str] | Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        known = choices() if callable(choices) else choices
        return [name for name in known if name.startswith(incomplete)]

    return complete


def one_by_one(command: Function) -> Function:
    """``command`` with the keys of its last parameter, ``**typed: Unpack[Group]``, one by one in its signature.

    That is the signature Typer reads; type checkers read the annotation.
    """
    signature = inspect.signature(command)
    *own, gathered = signature.parameters.values()
    hints = get_type_hints(command, include_extras=True)
    (group,) = get_args(hints[gathered.name])
    keys = get_type_hints(group, include_extras=True)
    options = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=keys[n]) for n in keys]
    named = [one.replace(annotation=hints[one.name]) for one in own]
    command.__signature__ = signature.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
    return command


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


CacheDir = Annotated[
    str | None,
    option(
        "--cache-dir",
        value="DIR",
        help="Where data sets and class vectors are kept, and weights too where it is given; also CLIPALIGN_CACHE.",
        default="the user's cache folder; weights in those of Hugging Face and open_clip",
        panel=MODEL_PANEL,
    ),
]
Offline = Annotated[
    bool | None,
    option("--offline/--no-offline", help="Never use the network.", default="no", panel=MODEL_PANEL),
]
AcceptLicense = Annotated[
    list[str] | None,
    option(
        "--accept-license",
        value="NAME",
        help="Accept the license of this model or data set, where it is not a free one. May be repeated.",
        panel=MODEL_PANEL,
    ),
]


class MachineOptions(TypedDict, total=False):
    """Of every command that computes."""

    # Which devices are there would cost an import of torch: kinds complete, not numbers.
    device: Annotated[
        str | None,
        option(
            "--device",
            value="auto|cpu|cuda[:N]|mps",
            help="Where the model runs.",
            default="auto",
            panel=MODEL_PANEL,
            choices=DEVICES,
        ),
    ]
    precision: Annotated[
        str | None,
        option(
            "--precision",
            value="|".join(PRECISIONS),
            help="Of weights and activations; auto is fp32, the reference.",
            default="auto",
            panel=MODEL_PANEL,
            choices=PRECISIONS,
        ),
    ]
    threads: Annotated[
        str | None,
        option("--threads", value="N", help="CPU threads.", default="torch's own", panel=MODEL_PANEL),
    ]
    seed: Annotated[
        str | None,
        option(
            "--seed",
            value="N",
            help="Of everything that is drawn at random; kept in the result.",
            default="0",
            panel=MODEL_PANEL,
        ),
    ]
    cache_dir: CacheDir
    offline: Offline
    download: Annotated[
        bool | None,
        option(
            "--download/--no-download",
            help="Fetch weights that are missing.",
            default="on a terminal only",
            panel=MODEL_PANEL,
        ),
    ]
    accept_license: AcceptLicense


class ChosenModelOptions(TypedDict, total=False):
    """Of every command that asks a model."""

    model: Annotated[
        str | None,
        option(
            "--model",
            "-m",
            value="NAME[@WEIGHTS]",
            help="A registry name (pictogram works offline), an open_clip architecture with a pretrained tag or a "
            "file, CONFIG.json@FILE, or a checkpoint.",
            default=f"{DEFAULT_MODEL}; of score-long: {LONG_MODEL}",
            panel=MODEL_PANEL,
            choices=model_names,
        ),
    ]
    batch_size: Annotated[
        str | None,
        option("--batch-size", value="auto|N", help="Images, and texts, at a time.", default="auto", panel=MODEL_PANEL),
    ]


class ModelOptions(ChosenModelOptions, MachineOptions, total=False):
    """The model and its machine."""


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


def settle(command: str, typed: Mapping[str, object]) -> Settings:
    """The settings of this run; variables and files that set nothing are told.

    Raises:
        UsageError: a flag's value is out of its range.
        SettingsError: a variable or the settings file holds something unusable.
    """
    settings = resolve(command, typed)
    configure(settings)
    for sentence in (*unknown_variables(), *foreign_settings_files()):
        notices.warn(sentence)
    return settings
