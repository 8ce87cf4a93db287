"""Options of ``eval``."""

from typing import Annotated, TypedDict

from clipalign.benchmarks.table import benchmark_names
from clipalign.options.classify import ClassOptions, DataRoot
from clipalign.options.detect import WordOptions
from clipalign.options.everywhere import DocumentFormat, EverywhereOptions
from clipalign.options.many import AgainOptions, OnError
from clipalign.options.model import ModelOptions
from clipalign.options.option import OUTPUT_PANEL, SCORING_PANEL, option
from clipalign.settings.choices import PROTOCOLS, REPORTS, SWEPT


class _BenchmarkOptions(TypedDict, total=False):
    dataset: Annotated[
        str | None,
        option(
            "--dataset",
            value="NAME",
            help=f"The benchmark: {', '.join(benchmark_names())}.",
            panel=SCORING_PANEL,
            choices=benchmark_names,
        ),
    ]
    limit: Annotated[
        str | None,
        option("--limit", value="N", help="Only the first N samples.", default="all", panel=SCORING_PANEL),
    ]
    data_root: DataRoot
    protocol: Annotated[
        str | None,
        option(
            "--protocol",
            value="|".join(PROTOCOLS),
            help="Pictures as they lie in the file, as in the papers, or turned the way EXIF says.",
            default="paper",
            panel=SCORING_PANEL,
            choices=PROTOCOLS,
        ),
    ]
    stretch: Annotated[
        bool | None,
        option(
            "--stretch/--no-stretch",
            help="Of benchmarks of long captions: stretch the positions of a model of fewer than 248 tokens.",
            default="no",
            panel=SCORING_PANEL,
        ),
    ]
    sweep: Annotated[
        list[str] | None,
        option(
            "--sweep",
            value="NAME=V,V",
            help="Go through all values of model, layers, epsilon, mode, alignment or template; pictures are encoded "
            "once a model. May be repeated.",
            panel=SCORING_PANEL,
            choices=tuple(f"{name}=" for name in SWEPT),
        ),
    ]
    calibrate: Annotated[
        bool | None,
        option(
            "--calibrate/--no-calibrate",
            help="Find the layers and the epsilon that suit the model on this data set.",
            default="no",
            panel=SCORING_PANEL,
        ),
    ]


class _WrittenOptions(TypedDict, total=False):
    output: Annotated[
        str | None,
        option(
            "--output",
            "-o",
            value="DIR",
            help="Also write samples.jsonl and result.json there; a folder that holds them already is refused without "
            "--resume or --overwrite.",
            panel=OUTPUT_PANEL,
        ),
    ]
    report: Annotated[
        str | None,
        option(
            "--report",
            value="|".join(REPORTS),
            help="Also write report.html into --output: numbers and, of benchmarks of words, distributions and the "
            "best and worst samples with pictures.",
            panel=OUTPUT_PANEL,
            choices=REPORTS,
        ),
    ]
    compare: Annotated[
        tuple[str, str] | None,
        option(
            "--compare",
            value="A B",
            help="Compare two finished runs, each a result.json or the --output of a run, with a paired test.",
            panel=OUTPUT_PANEL,
        ),
    ]
    save: Annotated[
        str | None,
        option(
            "--save",
            value="FILE",
            help="With --calibrate: put what was found into this clipalign.toml, for detect.",
            panel=OUTPUT_PANEL,
        ),
    ]
    format: DocumentFormat


class _SkippedOptions(TypedDict, total=False):
    on_error: OnError


class EvalOptions(
    _BenchmarkOptions,
    WordOptions,
    ClassOptions,
    _WrittenOptions,
    AgainOptions,
    _SkippedOptions,
    ModelOptions,
    EverywhereOptions,
    total=False,
):
    """Of ``eval``, in the order of its help."""
