"""Settings of ``eval``; torch-free. For a method's settings, None means the benchmark's published value."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from clipalign.config.groups import ModelSettings, RecordSettings, RunSettings
from clipalign.config.readers import between, name, named_columns, pair_of, parted, path, share, whole
from clipalign.config.settings import SameAs, Setting
from clipalign.data.class_texts import CLASS_TEMPLATE
from clipalign.evaluation.registry import OWN_COLUMNS, benchmark_names
from clipalign.methods.settings import (
    DEFAULT_TEMPLATE,
    ClassFileSettings,
    ClassifySettings,
    DetectSettings,
    LongSettings,
)

SWEPT: Final = (
    "model", "layers", "epsilon", "mode", "template", "crops", "alpha", "image_logscale", "text_logscale"
)  # fmt: skip  # what --sweep may vary


@dataclass(frozen=True, kw_only=True)
class EvalSettings(ClassFileSettings, RunSettings, ModelSettings):
    panel = "Scoring"

    dataset: Annotated[
        str | None,
        Setting(
            f"Benchmark: {', '.join(benchmark_names())}; or your own data: a file of texts with what is known of them, "
            "its description in TOML, or a folder with a folder of images a class. Several with commas between, or "
            "atlas for all that say where a caption is wrong.",
            name,
            value="NAME|FILE|DIR,…",
            choices=benchmark_names,
            file=False,
        ),
    ] = None
    columns: Annotated[
        Mapping[str, str] | None,
        Setting(
            f"What your file calls its columns: image, text, id, references, {', '.join(OWN_COLUMNS)}.",
            named_columns(*OWN_COLUMNS),
            value="text=NAME,label=NAME",
            default="their own names",
            file=False,
        ),
    ] = None
    dry_run: Annotated[
        bool,
        Setting(
            "Say what of the data can be measured, and stop before a model is loaded.",
            plain=True,
            file=False,
            variable=False,
        ),
    ] = False
    limit: Annotated[
        int | None, Setting("Use only the first N samples.", whole(1), short="-n", value="N", default="all")
    ] = None
    protocol: Annotated[
        str | None,
        Setting(
            "Images as stored in their file, as in the papers, or rotated as EXIF says.",
            choices=("paper", "exif"),
            default="paper",
        ),
    ] = None
    sweep: Annotated[
        tuple[str, ...],
        Setting(
            "Evaluate all values of model, layers, epsilon, mode or template, for classes of template, crops, alpha, "
            "image-logscale or text-logscale; images are encoded once per model, and per alpha. May be repeated.",
            value="NAME=V,V",
            choices=lambda: [f"{one.replace('_', '-')}=" for one in SWEPT],
            file=False,
        ),
    ] = ()
    compare_precision: Annotated[
        tuple[str, ...],
        Setting(
            "Say what precisions (bf16, int8), or engines with them (torch:bf16), do to the words that detect marks, "
            "against torch in fp32.",
            parted,
            value="bf16,int8",
            file=False,
        ),
    ] = ()
    calibrate: Annotated[
        bool, Setting("Find the layers and the epsilon that suit the model on this data set.", file=False)
    ] = False
    false_alarms: Annotated[
        float | None,
        Setting(
            "find the epsilon by which at most this share of right captions has a misaligned word; "
            "needs no false captions.",
            share,
            value="N%",
            default="the best F1",
            file=False,
            needs="calibrate",
        ),
    ] = None
    self_labeled: Annotated[
        bool,
        Setting(
            "make the false captions of the true ones, by words exchanged between them.",
            flag="--self",
            plain=True,
            file=False,
            needs="calibrate",
        ),
    ] = False

    mode: Annotated[
        str | None, SameAs(DetectSettings, "as published: most-negative where true captions have foils, else threshold")
    ] = None
    epsilon: Annotated[float | None, SameAs(DetectSettings, "as published, or the model's own")] = None
    layers: Annotated[int | None, SameAs(DetectSettings)] = None
    template: Annotated[str | None, SameAs(ClassifySettings, f'"{DEFAULT_TEMPLATE}" or "{CLASS_TEMPLATE}"')] = None
    method: Annotated[str | None, SameAs(ClassifySettings)] = None
    crops: Annotated[int | None, SameAs(ClassifySettings)] = None
    alpha: Annotated[float | None, SameAs(ClassifySettings)] = None
    image_logscale: Annotated[float | None, SameAs(ClassifySettings)] = None
    text_logscale: Annotated[float | None, SameAs(ClassifySettings)] = None
    stretch: Annotated[bool | None, SameAs(LongSettings, "no, as published: the papers' CLIPs read 77 tokens")] = None

    fast_decode: Annotated[bool, SameAs(DetectSettings)] = False

    output: Annotated[
        Path | None,
        Setting(
            "Also write samples.jsonl and result.json to this folder; one that holds them already needs --resume or "
            "--overwrite.",
            short="-o",
            value="DIR",
            panel="Output",
            file=False,
        ),
    ] = None
    report: Annotated[
        str | None,
        Setting(
            "Also write report.html to --output: metrics and, for word benchmarks, distributions and the best and "
            "worst samples with images; of several runs, and without --dataset of all in --output, one table.",
            choices=("html",),
            panel="Output",
            file=False,
        ),
    ] = None
    compare: Annotated[
        tuple[Path, Path] | None,
        Setting(
            "Compare two finished runs, each a result.json or the --output of a run, or two outputs of detect or "
            "score-long about the same images, with a paired test.",
            pair_of(path, "two results of eval, or two outputs"),
            value="A B",
            panel="Output",
            file=False,
        ),
    ] = None
    verify: Annotated[
        Path | None,
        Setting(
            "Score records of an output of detect or score-long again, 20 or --limit, and exit with status 1 when they "
            "do not come out the same. Relative images are looked for in --data-root.",
            value="FILE",
            panel="Output",
            file=False,
        ),
    ] = None
    check: Annotated[
        bool, Setting("exit with status 1 when B is worse by more than --margin.", panel="Check", needs="compare")
    ] = False
    margin: Annotated[
        float,
        Setting(
            "what B may be worse by, in the unit of each score or share.",
            between(0.0),
            value="X",
            panel="Check",
            needs="compare",
        ),
    ] = 0.0
    save: Annotated[
        Path | None,
        Setting(
            "save the result to this file, for detect --calibration.",
            value="FILE",
            panel="Output",
            file=False,
            needs="calibrate",
        ),
    ] = None
    on_error: Annotated[str | None, SameAs(RecordSettings)] = None
    keep_vectors: Annotated[float | None, SameAs(RecordSettings)] = None
