"""Every option that commands share, once: its flags, its words in ``--help``, its completions.

Options take text; :mod:`clipalign.settings` reads and checks it, because the same setting may come from a variable or a
file. An option that was not typed is None. Torch-free: completion and ``--help`` import this.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clipalign.benchmarks.table import benchmark_names
from clipalign.registry import DEFAULT_MODEL, model_names
from clipalign.settings import ALIGNMENTS, DEVICES, FORMATS, MODES, PRECISIONS

MODEL_PANEL: Final = "Model"
SCORING_PANEL: Final = "Scoring"
OUTPUT_PANEL: Final = "Output"


def complete_models(incomplete: str) -> list[str]:
    """Registry names; files complete by the shell itself."""
    return [name for name in model_names() if name.startswith(incomplete)]


def complete_devices(incomplete: str) -> list[str]:
    """The kinds of device; which of them are there would cost an import of torch."""
    return [name for name in DEVICES if name.startswith(incomplete)]


def complete_precisions(incomplete: str) -> list[str]:
    """Precisions."""
    return [name for name in PRECISIONS if name.startswith(incomplete)]


def complete_formats(incomplete: str) -> list[str]:
    """Output formats."""
    return [name for name in FORMATS if name.startswith(incomplete)]


def complete_modes(incomplete: str) -> list[str]:
    """Modes of ``detect``."""
    return [name for name in MODES if name.startswith(incomplete)]


def complete_alignments(incomplete: str) -> list[str]:
    """How tokens are counted to words."""
    return [name for name in ALIGNMENTS if name.startswith(incomplete)]


def complete_datasets(incomplete: str) -> list[str]:
    """Benchmarks."""
    return [name for name in benchmark_names() if name.startswith(incomplete)]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME[@WEIGHTS]",
        help=f"A registry name (pictogram works offline), an open_clip architecture with a pretrained tag or a file, "
        f"CONFIG.json@FILE, or a checkpoint. [default: {DEFAULT_MODEL}]",
        autocompletion=complete_models,
        rich_help_panel=MODEL_PANEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]|mps",
        help="Where the model runs. [default: auto]",
        autocompletion=complete_devices,
        rich_help_panel=MODEL_PANEL,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="|".join(PRECISIONS),
        help="Of weights and activations; auto is fp32, the reference. [default: auto]",
        autocompletion=complete_precisions,
        rich_help_panel=MODEL_PANEL,
    ),
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        metavar="auto|N",
        help="Images, and texts, at a time. [default: auto]",
        rich_help_panel=MODEL_PANEL,
    ),
]
Threads = Annotated[
    str | None,
    typer.Option("--threads", metavar="N", help="CPU threads. [default: torch's own]", rich_help_panel=MODEL_PANEL),
]
Seed = Annotated[
    str | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Of everything that is drawn at random; kept in the result. [default: 0]",
        rich_help_panel=MODEL_PANEL,
    ),
]
CacheDir = Annotated[
    str | None,
    typer.Option(
        "--cache-dir",
        metavar="DIR",
        help="Where weights are kept; also CLIPALIGN_CACHE. [default: the user's cache folder]",
        rich_help_panel=MODEL_PANEL,
    ),
]
Offline = Annotated[
    bool | None,
    typer.Option("--offline/--no-offline", help="Never use the network.", rich_help_panel=MODEL_PANEL),
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="|".join(MODES),
        help="Call wrong every word below epsilon, or always the one most negative word. [default: threshold]",
        autocompletion=complete_modes,
        rich_help_panel=SCORING_PANEL,
    ),
]
Epsilon = Annotated[
    str | None,
    typer.Option(
        "--epsilon",
        metavar="X",
        help="A word whose attribution is lower is misaligned. [default: the model's own]",
        rich_help_panel=SCORING_PANEL,
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        metavar="K",
        help="Text layers averaged, from the last. [default: the model's own]",
        rich_help_panel=SCORING_PANEL,
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="TEXT",
        help='Put before every text. [default: "A photo depicts "]',
        rich_help_panel=SCORING_PANEL,
    ),
]
Alignment = Annotated[
    str | None,
    typer.Option(
        "--alignment",
        metavar="|".join(ALIGNMENTS),
        help="Which tokens make up a word: as the published code counts them, which slips where a run of punctuation "
        "joins two words (a warning says so), or those of its characters. [default: published]",
        autocompletion=complete_alignments,
        rich_help_panel=SCORING_PANEL,
    ),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        metavar="TEXT",
        help="A caption known to be right, for RefCLIPScore. May be repeated.",
        rich_help_panel=SCORING_PANEL,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="|".join(FORMATS),
        help="What to write to stdout. [default: table on a terminal, json elsewhere]",
        autocompletion=complete_formats,
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Top = Annotated[
    str | None,
    typer.Option(
        "--top",
        metavar="N",
        help="Show only the N most negative words of the table.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Check = Annotated[
    bool | None,
    typer.Option(
        "--check/--no-check",
        help="Exit with status 1 when any word is misaligned.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help=f"The benchmark: {', '.join(benchmark_names())}.",
        autocompletion=complete_datasets,
        rich_help_panel=SCORING_PANEL,
    ),
]
Limit = Annotated[
    str | None,
    typer.Option(
        "--limit", metavar="N", help="Only the first N samples. [default: all]", rich_help_panel=SCORING_PANEL
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="DIR",
        help="Also write samples.jsonl and result.json there; a folder that holds them already is refused.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Quiet = Annotated[bool | None, typer.Option("--quiet", "-q", help="No warnings.")]
Verbose = Annotated[bool | None, typer.Option("--verbose", "-v", help="Say why, and what other libraries warn of.")]
Debug = Annotated[bool | None, typer.Option("--debug", help="Show the traceback of an error.")]
