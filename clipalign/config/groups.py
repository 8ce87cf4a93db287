"""Settings that several commands have, in groups that the class of a command inherits.

Modules of declarations do not use ``from __future__ import annotations``: compiling annotations from strings would cost
``--help`` a tenth of its time. So no reader may have the name of a field, which would hide it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from clipalign.config.conditions import Condition, condition
from clipalign.config.conditions import top_share as share_of
from clipalign.config.readers import (
    MAX_KEPT_GB,
    MAX_SEED,
    MAX_THREADS,
    auto_or_count,
    between,
    device_name,
    named_columns,
    parted,
    results_path,
    shard_part,
    whole,
)
from clipalign.config.settings import CommandSettings, Setting
from clipalign.device import ENGINES, PRECISIONS
from clipalign.models.registry import DEFAULT_MODEL, model_names

FORMATS = ("table", "json", "jsonl", "jsonl.gz", "csv", "parquet", "tar", "html", "github")


@dataclass(frozen=True, kw_only=True)
class FetchSettings(CommandSettings):
    panel = "Model"

    cache_dir: Annotated[
        Path | None,
        Setting(
            "Folder of data sets and vectors, and of weights where it is given; also CLIPALIGN_CACHE.",
            value="DIR",
            default="the user's cache folder; weights in those of Hugging Face and open_clip",
            file=False,
            variables=("CLIPALIGN_CACHE",),
        ),
    ] = None
    offline: Annotated[
        bool, Setting("Never use the network.", variables=("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    ] = False
    accept_license: Annotated[
        tuple[str, ...],
        Setting(
            "Accept the license of this model or data set, where it is not a free one. May be repeated.",
            value="NAME",
            file=False,
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class MachineSettings(FetchSettings):
    """Settings of every command that computes."""

    panel = "Model"

    # Which devices there are would cost an import of torch: kinds complete, not numbers.
    device: Annotated[
        str,
        Setting(
            "Device that the model runs on.",
            device_name,
            value="auto|cpu|cuda[:N]|mps",
            choices=("auto", "cpu", "cuda", "mps"),
        ),
    ] = "auto"
    precision: Annotated[
        str,
        Setting(
            "Precision of weights and activations; auto is fp32, the reference. int8 needs OpenVINO, and "
            "texts are then in bf16 where the CPU has it.",
            choices=("auto", *PRECISIONS),
        ),
    ] = "auto"
    quick_gelu: Annotated[
        bool | None,
        Setting(
            "Activation of a checkpoint that does not say: QuickGELU, as in OpenAI's models, or GELU.",
            default="as its name says, with a warning where that is a guess",
        ),
    ] = None
    threads: Annotated[int | None, Setting("CPU threads.", whole(1, MAX_THREADS), value="N", default="torch's own")] = (
        None
    )
    seed: Annotated[
        int, Setting("Seed of everything that is drawn at random; stored in the result.", whole(0, MAX_SEED), value="N")
    ] = 0
    download: Annotated[bool | None, Setting("Download missing weights.", default="on a terminal only", file=False)] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class ModelSettings(MachineSettings):
    """Settings of every command that runs a model."""

    panel = "Model"

    model: Annotated[
        str,
        Setting(
            "A name (pictogram works offline), an open_clip architecture with a tag or a file, CONFIG.json@FILE, a "
            "checkpoint, a folder, or a repository of the Hub (owner/name).",
            short="-m",
            value="NAME[@WEIGHTS]",
            choices=model_names,
            beside_file=True,
        ),
    ] = DEFAULT_MODEL
    engine: Annotated[
        str,
        Setting(
            "What runs image towers: torch, or OpenVINO on CPUs; auto takes OpenVINO for --input, eval and int8, where "
            "it is installed and as exact.",
            choices=ENGINES,
        ),
    ] = "auto"
    batch_size: Annotated[
        int | None, Setting("Images, and texts, per batch.", auto_or_count, value="auto|N", default="auto")
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunSettings(CommandSettings):
    """Settings of every command whose ``--output`` may exist."""

    panel = "Many at once"

    resume: Annotated[bool, Setting("Continue an earlier run into the same --output.", file=False)] = False
    overwrite: Annotated[bool, Setting("Replace an --output that exists.", file=False)] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_together("resume", "overwrite")


@dataclass(frozen=True, kw_only=True)
class RecordSettings(RunSettings, ModelSettings):
    """Settings of every command that runs a model on records."""

    panel = "Many at once"

    input: Annotated[
        tuple[str, ...],
        Setting(
            "Read many records: .jsonl, .json, .csv, .tsv, .parquet, WebDataset .tar, a folder of images with .txt "
            "captions, addresses, or - for JSON lines on standard input. May be repeated, or be a pattern or a range "
            "such as {000..099}.tar.",
            short="-i",
            value="FILE|DIR|-",
            file=False,
        ),
    ] = ()
    columns: Annotated[
        Mapping[str, str] | None,
        Setting(
            "What the input calls image, text, id or references; json.caption for what lies in an object or a tar.",
            named_columns(),
            value="image=NAME,text=NAME",
            default="their own names",
            file=False,
        ),
    ] = None
    keep_columns: Annotated[
        tuple[str, ...],
        Setting(
            "Other columns of the input that results bring along.",
            parted,
            value="all|NAME,NAME",
            default="none",
            file=False,
        ),
    ] = ()
    image_root: Annotated[
        Path | None,
        Setting(
            "Folder, or its address, of relative image names in the input.",
            value="DIR",
            default="the folder of the input, then the working directory",
            file=False,
        ),
    ] = None
    limit: Annotated[
        int | None,
        Setting("Use only the first N records, of each shard.", whole(1), short="-n", value="N", default="all"),
    ] = None
    output: Annotated[
        Path | None,
        Setting(
            "Write to this file instead of stdout, record by record; its ending may say the format. A folder, or an "
            "address (s3://), gets parts.",
            results_path,
            short="-o",
            value="FILE|DIR",
            file=False,
        ),
    ] = None
    format: Annotated[
        str | None,
        Setting(
            "Output format.",
            short="-f",
            choices=FORMATS,
            default="table on a terminal, json elsewhere; for many, jsonl elsewhere, or by the ending of --output",
            panel="Output",
        ),
    ] = None
    where: Annotated[
        Condition | None,
        Setting(
            "Write only the records that fulfill a condition on their fields: 'clip_score > 0.7 and not misaligned'.",
            condition,
            value="CONDITION",
            default="all",
            file=False,
        ),
    ] = None
    top_share: Annotated[
        tuple[str, float] | None,
        Setting(
            "Write only the best share of the records, by a field or by the command's first score.",
            share_of,
            value="[FIELD=]SHARE",
            default="all",
            file=False,
        ),
    ] = None
    on_error: Annotated[
        str | None,
        Setting(
            "skip: write the error as a record and go on; fail: end the run.",
            choices=("skip", "fail"),
            default="skip for many, fail for one",
        ),
    ] = None
    timeout: Annotated[
        float | None,
        Setting("Time limit to download one image, in seconds.", between(0.1, 3600.0), value="SECONDS", default="30"),
    ] = None
    keep_vectors: Annotated[
        float,
        Setting(
            "Keep vectors of images in the cache folder, up to this size in gigabytes; those used longest ago go "
            "first. A later run on the same images and weights reads them and computes texts alone.",
            between(0.0, MAX_KEPT_GB),
            value="GB",
            default="0, none; of eval 4 where it crops images for classes",
            file=False,
        ),
    ] = 0.0
    shard: Annotated[
        tuple[int, int] | None,
        Setting(
            "Only part I of N of the input, I from 1 on: whole files where there are N, else every N-th record.",
            shard_part,
            value="I/N",
            default="1/1",
            file=False,
        ),
    ] = None
