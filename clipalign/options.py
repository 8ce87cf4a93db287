"""Every option that commands share, once: its flags, its words in ``--help``, its completions.

Options take text; :mod:`clipalign.settings` reads and checks it, because the same setting may come from a variable or a
file. An option that was not typed is None. Torch-free: completion and ``--help`` import this.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clipalign.benchmarks.table import benchmark_names
from clipalign.registry import DEFAULT_MODEL, model_names
from clipalign.registry.rows import LONG_MODEL
from clipalign.settings.choices import (
    ALIGNMENTS,
    DESCRIBED_DATASETS,
    DEVICES,
    ERROR_RULES,
    FORMATS,
    FORMATS_OF,
    METHODS,
    MODES,
    PIECES,
    PRECISIONS,
    PROTOCOLS,
    REPORTS,
    SWEPT,
    TOWERS,
)

MODEL_PANEL: Final = "Model"
SCORING_PANEL: Final = "Scoring"
MANY_PANEL: Final = "Many at once"
DATA_PANEL: Final = "Data"
TRAINING_PANEL: Final = "Training"
OUTPUT_PANEL: Final = "Output"

DOCUMENT_FORMATS: Final = FORMATS_OF["download"]
"""Of commands without records: ``download``, ``eval``, ``train-specs``."""


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


def complete_document_formats(incomplete: str) -> list[str]:
    """Output formats of commands that have no records."""
    return [name for name in DOCUMENT_FORMATS if name.startswith(incomplete)]


def complete_modes(incomplete: str) -> list[str]:
    """Modes of ``detect``."""
    return [name for name in MODES if name.startswith(incomplete)]


def complete_alignments(incomplete: str) -> list[str]:
    """How tokens are counted to words."""
    return [name for name in ALIGNMENTS if name.startswith(incomplete)]


def complete_datasets(incomplete: str) -> list[str]:
    """Benchmarks."""
    return [name for name in benchmark_names() if name.startswith(incomplete)]


def complete_error_rules(incomplete: str) -> list[str]:
    """What to do with a record that cannot be read."""
    return [name for name in ERROR_RULES if name.startswith(incomplete)]


def complete_methods(incomplete: str) -> list[str]:
    """Methods of ``classify``."""
    return [name for name in METHODS if name.startswith(incomplete)]


def complete_protocols(incomplete: str) -> list[str]:
    """How pictures of data sets are opened."""
    return [name for name in PROTOCOLS if name.startswith(incomplete)]


def complete_described_datasets(incomplete: str) -> list[str]:
    """Data sets that ``classify`` has classes of."""
    return [name for name in DESCRIBED_DATASETS if name.startswith(incomplete)]


def complete_towers(incomplete: str) -> list[str]:
    """Towers that can be frozen."""
    return [name for name in TOWERS if name.startswith(incomplete)]


def complete_reports(incomplete: str) -> list[str]:
    """Kinds of report."""
    return [name for name in REPORTS if name.startswith(incomplete)]


def complete_sweeps(incomplete: str) -> list[str]:
    """Settings that can be swept."""
    return [f"{name}=" for name in SWEPT if name.startswith(incomplete)]


def complete_pieces(incomplete: str) -> list[str]:
    """Pieces of ``score-long``."""
    return [name for name in PIECES if name.startswith(incomplete)]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME[@WEIGHTS]",
        help=f"A registry name (pictogram works offline), an open_clip architecture with a pretrained tag or a file, "
        f"CONFIG.json@FILE, or a checkpoint. [default: {DEFAULT_MODEL}; of score-long: {LONG_MODEL}]",
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
        help="What to write. [default: table on a terminal, json elsewhere; for many, jsonl elsewhere, and what the "
        "ending of --output says]",
        autocompletion=complete_formats,
        rich_help_panel=OUTPUT_PANEL,
    ),
]
DocumentFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="|".join(DOCUMENT_FORMATS),
        help="What to write. [default: table on a terminal, json elsewhere]",
        autocompletion=complete_document_formats,
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
        help="Also write samples.jsonl and result.json there; a folder that holds them already is refused without "
        "--resume or --overwrite.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
OutputFile = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write there instead of to stdout, record by record; its ending may say the format.",
        rich_help_panel=MANY_PANEL,
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="FILE|DIR|-",
        help="Read many records: .jsonl, .json, .csv, .tsv, .parquet, a folder of pictures with .txt captions, "
        "WebDataset .tar, or - for JSON lines on standard input. May be repeated.",
        rich_help_panel=MANY_PANEL,
    ),
]
ImageRoot = Annotated[
    str | None,
    typer.Option(
        "--image-root",
        metavar="DIR",
        help="Where relative image names of the input are looked for. [default: the working directory]",
        rich_help_panel=MANY_PANEL,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only part I of N of the input, I from 1 on; the outputs of all parts concatenate to the whole.",
        rich_help_panel=MANY_PANEL,
    ),
]
Resume = Annotated[
    bool | None,
    typer.Option(
        "--resume/--no-resume",
        help="Go on where an earlier run into the same --output ended.",
        rich_help_panel=MANY_PANEL,
    ),
]
Overwrite = Annotated[
    bool | None,
    typer.Option("--overwrite/--no-overwrite", help="Replace an --output that exists.", rich_help_panel=MANY_PANEL),
]
OnError = Annotated[
    str | None,
    typer.Option(
        "--on-error",
        metavar="|".join(ERROR_RULES),
        help="A record that cannot be read becomes a record with its error, or ends the run. "
        "[default: skip for many, fail for one]",
        autocompletion=complete_error_rules,
        rich_help_panel=MANY_PANEL,
    ),
]
Download = Annotated[
    bool | None,
    typer.Option(
        "--download/--no-download",
        help="Fetch weights that are missing. [default: on a terminal only]",
        rich_help_panel=MODEL_PANEL,
    ),
]
AcceptLicense = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-license",
        metavar="NAME",
        help="Accept the licence of this model or data set, where it is not a free one. May be repeated.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option("--labels", metavar="FILE", help="Class names, a line each.", rich_help_panel=SCORING_PANEL),
]
Descriptions = Annotated[
    str | None,
    typer.Option(
        "--descriptions",
        metavar="FILE",
        help="A JSON object: class name to a list of sentences.",
        rich_help_panel=SCORING_PANEL,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="|".join(METHODS),
        help="How pictures and classes are compared. [default: wca with descriptions, clip without]",
        autocompletion=complete_methods,
        rich_help_panel=SCORING_PANEL,
    ),
]
Crops = Annotated[
    str | None,
    typer.Option(
        "--crops", metavar="N", help="Random crops of a picture. [default: 60]", rich_help_panel=SCORING_PANEL
    ),
]
Alpha = Annotated[
    str | None,
    typer.Option(
        "--alpha",
        metavar="X",
        help="Smallest side of a crop as a share of the picture's shorter side, 0 to 0.9. [default: 0.5]",
        rich_help_panel=SCORING_PANEL,
    ),
]
Explain = Annotated[
    bool | None,
    typer.Option(
        "--explain/--no-explain",
        help="Show which crops and sentences carried the score.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
ImageLogscale = Annotated[
    str | None,
    typer.Option(
        "--image-logscale",
        metavar="X",
        help="How sharply crops that resemble the whole picture outweigh others. [default: 4]",
        rich_help_panel=SCORING_PANEL,
    ),
]
TextLogscale = Annotated[
    str | None,
    typer.Option(
        "--text-logscale",
        metavar="X",
        help="How sharply descriptions that resemble the prompt outweigh others. [default: 2]",
        rich_help_panel=SCORING_PANEL,
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help='The class in a sentence, {} for its name. [default: "a photo of a {}."]',
        rich_help_panel=SCORING_PANEL,
    ),
]
Templates = Annotated[
    str | None,
    typer.Option(
        "--templates",
        metavar="FILE",
        help="Prompts for clip-e, one a line, {} for the class. [default: the 80 of OpenAI's CLIP]",
        rich_help_panel=SCORING_PANEL,
    ),
]
Words = Annotated[
    str | None,
    typer.Option(
        "--words",
        metavar="FILE",
        help="Words for waffle, one a line. [default: what clipalign download waffle-words fetched]",
        rich_help_panel=SCORING_PANEL,
    ),
]
DescribeWith = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--describe-with",
        metavar="URL MODEL",
        help="Have classes described by a language model at an OpenAI-compatible address; the names of the classes are "
        "sent there, and OPENAI_API_KEY where it is set. What it writes is kept.",
        rich_help_panel=SCORING_PANEL,
    ),
]
DatasetClasses = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help=f"The classes and published descriptions of a data set: {', '.join(DESCRIBED_DATASETS)}.",
        autocompletion=complete_described_datasets,
        rich_help_panel=SCORING_PANEL,
    ),
]
TopClasses = Annotated[
    str | None,
    typer.Option("--top", metavar="N", help="Name the N best classes. [default: 5]", rich_help_panel=OUTPUT_PANEL),
]
TextFile = Annotated[
    list[str] | None,
    typer.Option(
        "--text-file",
        metavar="FILE",
        help="A file with one text, in UTF-8; - for standard input. May be repeated.",
        rich_help_panel=SCORING_PANEL,
    ),
]
StretchLong = Annotated[
    bool | None,
    typer.Option(
        "--stretch/--no-stretch",
        help="Of benchmarks of long captions: stretch the positions of a model of fewer than 248 tokens. [default: no]",
        rich_help_panel=SCORING_PANEL,
    ),
]
CheckLong = Annotated[
    bool | None,
    typer.Option(
        "--check/--no-check",
        help="Exit with status 1 when any sentence lowers the score by more than --margin.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Stretch = Annotated[
    bool | None,
    typer.Option(
        "--stretch/--no-stretch",
        help="Whether a model of fewer than 248 tokens has its positions stretched, as Long-CLIP's were before its "
        "training, or reads its own context and no further. [default: stretch]",
        rich_help_panel=SCORING_PANEL,
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="|".join(PIECES),
        help="What the text is cut into. [default: sentence]",
        autocompletion=complete_pieces,
        rich_help_panel=SCORING_PANEL,
    ),
]
Margin = Annotated[
    str | None,
    typer.Option(
        "--margin",
        metavar="X",
        help="A sentence is marked, and found by --check, when it lowers the score by more. [default: 0]",
        rich_help_panel=SCORING_PANEL,
    ),
]
DataRoot = Annotated[
    str | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="The data set's folder, or one that holds it under its name. [default: where download puts it]",
        rich_help_panel=SCORING_PANEL,
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="|".join(PROTOCOLS),
        help="Pictures as they lie in the file, as in the papers, or turned the way EXIF says. [default: paper]",
        autocompletion=complete_protocols,
        rich_help_panel=SCORING_PANEL,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR|pictogram[:N]",
        help="Training samples: a folder that --prepare wrote, or generated scenes.",
        rich_help_panel=DATA_PANEL,
    ),
]
Prepare = Annotated[
    str | None,
    typer.Option(
        "--prepare",
        metavar="FILE|DIR",
        help="First make training samples of raw captions (JSON lines, ShareGPT4V's JSON, a folder of DCI), in --data.",
        rich_help_panel=DATA_PANEL,
    ),
]
HeldOut = Annotated[
    str | None,
    typer.Option(
        "--held-out",
        metavar="N",
        help="Samples for validation, never trained on. [default: 300]",
        rich_help_panel=DATA_PANEL,
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Processes that prepare, threads that decode. [default: one for each processor]",
        rich_help_panel=DATA_PANEL,
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="NAME[@WEIGHTS]",
        help="The model to start from, as for --model; fewer than 248 tokens are stretched. [default: specs-base]",
        autocompletion=complete_models,
        rich_help_panel=MODEL_PANEL,
    ),
]
RunFolder = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="DIR",
        help="Where weights, checkpoints and metrics go.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Epochs = Annotated[
    str | None,
    typer.Option(
        "--epochs",
        metavar="N",
        help="Over the data. [default: 6]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
TrainBatchSize = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        help="Samples a process and a batch. [default: 100]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Accumulate = Annotated[
    str | None,
    typer.Option(
        "--accumulate",
        metavar="N",
        help="Batches a step. [default: 4]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Draws = Annotated[
    str | None,
    typer.Option(
        "--draws",
        metavar="N",
        help="Beginnings of each caption that a step reads; more cost little. [default: 1, as published]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
LearningRate = Annotated[
    str | None,
    typer.Option(
        "--learning-rate",
        metavar="X",
        help="At its height; it falls as a cosine. [default: 1e-5]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
WarmupSteps = Annotated[
    str | None,
    typer.Option(
        "--warmup-steps",
        metavar="N",
        help="Steps in which the learning rate rises. [default: 40]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
WeightDecay = Annotated[
    str | None,
    typer.Option(
        "--weight-decay",
        metavar="X",
        help="Of AdamW. [default: 0.01]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
ClipNorm = Annotated[
    str | None,
    typer.Option(
        "--clip-norm",
        metavar="X",
        help="What the norm of the gradients is cut to. [default: 1]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
LambdaContrastive = Annotated[
    str | None,
    typer.Option(
        "--lambda-contrastive",
        metavar="X",
        help="Weight of telling the captions of a batch apart. [default: 1]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
LambdaDetail = Annotated[
    str | None,
    typer.Option(
        "--lambda-detail",
        metavar="X",
        help="Weight of true details, which should raise the score. [default: 8]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
LambdaNegative = Annotated[
    str | None,
    typer.Option(
        "--lambda-negative",
        metavar="X",
        help="Weight of wrong details, which should lower it. [default: 0.8]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
LambdaShort = Annotated[
    str | None,
    typer.Option(
        "--lambda-short",
        metavar="X",
        help="Weight of telling short captions and pictures apart, lest that be forgotten. [default: 0, as published]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
TrainEpsilon = Annotated[
    str | None,
    typer.Option(
        "--epsilon",
        metavar="X",
        help="By how much, in units of the scaled cosine; 0 adapts it. [default: 0]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Gather = Annotated[
    bool | None,
    typer.Option(
        "--gather/--no-gather",
        help="Tell captions apart from the pictures of all processes, not only of their own.",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Freeze = Annotated[
    list[str] | None,
    typer.Option(
        "--freeze",
        metavar="image|text",
        help="A tower that does not learn. May be repeated.",
        autocompletion=complete_towers,
        rich_help_panel=TRAINING_PANEL,
    ),
]
Blend = Annotated[
    str | None,
    typer.Option(
        "--blend",
        metavar="X",
        help="Share of the trained weights in the best ones; the rest are the start's, so that less of it is lost. "
        "[default: 1, as published]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Recompute = Annotated[
    bool | None,
    typer.Option(
        "--recompute/--no-recompute",
        help="Save memory: compute inner states again in the backward pass.",
        rich_help_panel=TRAINING_PANEL,
    ),
]
ValidateEvery = Annotated[
    str | None,
    typer.Option(
        "--validate-every",
        metavar="N",
        help="Steps between validations. [default: once an epoch]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
SaveEvery = Annotated[
    str | None,
    typer.Option(
        "--save-every",
        metavar="N",
        help="Steps between checkpoints. [default: 100]",
        rich_help_panel=TRAINING_PANEL,
    ),
]
Compare = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--compare",
        metavar="A B",
        help="Compare two finished runs, each a result.json or the --output of a run, with a paired test.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Report = Annotated[
    str | None,
    typer.Option(
        "--report",
        metavar="|".join(REPORTS),
        help="Also write report.html into --output: numbers, distributions, best and worst samples with pictures.",
        autocompletion=complete_reports,
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Sweep = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep",
        metavar="NAME=V,V",
        help="Go through all values of model, layers, epsilon, mode, alignment or template; pictures are encoded "
        "once a model. May be repeated.",
        autocompletion=complete_sweeps,
        rich_help_panel=SCORING_PANEL,
    ),
]
Calibrate = Annotated[
    bool | None,
    typer.Option(
        "--calibrate/--no-calibrate",
        help="Find the layers and the epsilon that suit the model on this data set.",
        rich_help_panel=SCORING_PANEL,
    ),
]
Save = Annotated[
    str | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="With --calibrate: put what was found into this clipalign.toml, for detect.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Quiet = Annotated[bool | None, typer.Option("--quiet", "-q", help="No warnings.")]
Verbose = Annotated[bool | None, typer.Option("--verbose", "-v", help="Say why, and what other libraries warn of.")]
Debug = Annotated[bool | None, typer.Option("--debug", help="Show the traceback of an error.")]
