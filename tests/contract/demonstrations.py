"""For every option of every command a pair of command lines that differ in it alone, and where the difference is seen.

A demonstration is no test of what an option does, which stands with the command; it shows that the option is not dead:
what was typed reaches a record, a file, stderr or the status.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tests.cli.run import GOLDEN, TINY

LONG: Final = str(GOLDEN / "tiny-longclip.safetensors")
TAG: Final = "ViT-B-32-quickgelu@metaclip_400m"
"""A model whose license is not a free one."""

Line = tuple[str, ...]


class Seen(NamedTuple):
    """What a user sees of a run."""

    status: int
    out: str
    err: str
    files: dict[str, bytes]
    threads: int

    @property
    def record(self) -> Any:
        """The one JSON document."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Demonstration:
    """Two lines that differ in one option.

    Attributes:
        plain: the line without the option.
        typed: the option as it is typed.
        look: where the difference is seen.
        before: lines that ran before, in the same folder.
        instead: the whole line with the option, where it does not merely stand behind ``plain``.
    """

    plain: Line
    typed: Line
    look: Callable[[Seen], Any]
    before: tuple[Line, ...] = ()
    instead: Line = ()

    @property
    def line(self) -> Line:
        """The line with the option."""
        return self.instead or (*self.plain, *self.typed)


def status(seen: Seen) -> int:
    return seen.status


def err(seen: Seen) -> str:
    return seen.err


def out(seen: Seen) -> str:
    return seen.out


def files(seen: Seen) -> list[str]:
    return sorted(seen.files)


def says(words: str) -> Callable[[Seen], bool]:
    """Whether stderr has them."""
    return lambda seen: words in " ".join(seen.err.split())


def field(*names: str) -> Callable[[Seen], Any]:
    """What stands under these names in the JSON document."""

    def look(seen: Seen) -> Any:
        value = seen.record
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    return look


def setting(name: str) -> Callable[[Seen], Any]:
    """What provenance has under this name among the settings."""
    return field("provenance", "settings", name)


def precision_of(seen: Seen) -> Any:
    """What was written, the curve, and whether it was said that the processor should not compute in it."""
    return seen.out, "fp32 instead of bf16" in seen.err, seen.files.get("run/metrics.jsonl")


def lines_out(seen: Seen) -> int:
    return len(seen.out.splitlines())


JSON: Final = ("--format", "json")
DETECT: Final = ("detect", "a.png", "a red car", "--model", TINY)
CLASSIFY: Final = ("classify", "a.png", "--labels", "labels.txt", "--model", TINY)
LONGER: Final = ("score-long", "a.png", "A red car. A cat.", "--model", LONG)
EVAL: Final = ("eval", "--dataset", "pictogram-foil", "--limit", "2", "--model", TINY)
TRAIN: Final = (
    "train-specs", "--data", "pictogram:4", "--init", LONG, "--held-out", "0", "--batch-size", "2",
    "--accumulate", "1", "--epochs", "1", "--workers", "1", "--output", "run",
)  # fmt: skip
DOWNLOAD: Final = ("download", "pictogram", "--list")
ONE: Final = {
    "detect": DETECT,
    "classify": CLASSIFY,
    "score-long": LONGER,
    "eval": EVAL,
    "train-specs": TRAIN,
    "download": DOWNLOAD,
}
MISSING: Final = {
    "detect": ("detect", "a.png", "a red car", "--model"),
    "classify": ("classify", "a.png", "--labels", "labels.txt", "--model"),
    "score-long": ("score-long", "a.png", "A red car.", "--model"),
    "eval": ("eval", "--dataset", "pictogram-foil", "--limit", "2", "--model"),
    "train-specs": ("train-specs", "--data", "pictogram:4", "--output", "run", "--init"),
    "download": ("download",),
}
"""Lines that end before the name of a model, to be one that is not here."""
MANY: Final = {
    "detect": ("detect", "--input", "photos.jsonl", "--model", TINY, "--format", "jsonl"),
    "classify": ("classify", "--input", "photos.jsonl", "--labels", "labels.txt", "--model", TINY, "--format", "jsonl"),
    "score-long": ("score-long", "--input", "photos.jsonl", "--model", LONG, "--format", "jsonl"),
}
"""Of two pictures, one of them beside the table, the other in ``photos/``."""

CACHED: Final = ("--cache-dir", "kept")
FAST: Final = ("--fast-decode",)

Table = dict[tuple[str, str], Demonstration]


def everywhere() -> Table:
    """Options of all six."""
    table: Table = {}
    for command, line in ONE.items():
        table[command, "format"] = Demonstration(line, ("--format", "table"), lambda seen: seen.out[:1] == "{")
        table[command, "quiet"] = Demonstration(line, ("--quiet",), says("CLIPALIGN_NOBODY sets nothing"))
        said = "data sets and hashes are kept in" if command == "download" else "loaded in"
        table[command, "verbose"] = Demonstration(line, ("--verbose",), says(said))
        wrong = (*MISSING[command], "nobody@nothing")
        table[command, "debug"] = Demonstration(wrong, ("--debug",), says("Traceback"))
        kept = ("--cache-dir", "stocked")  # has a file of the right name
        tags = ("ViT-B-32", "--list", "--format", "json") if command == "download" else ("ViT-B-32", "--no-download")
        look = field("cache_dir") if command == "download" else says("stocked")
        table[command, "cache_dir"] = Demonstration((*MISSING[command], *tags), kept, look)
        fetched = () if command == "download" else ("--download",)
        free = (*MISSING[command], "longclip-B", *fetched)
        table[command, "offline"] = Demonstration(free, ("--offline",), says("--offline (or HF_HUB_OFFLINE) forbids"))
        bound = (*MISSING[command], TAG, *fetched)
        table[command, "accept_license"] = Demonstration(bound, ("--accept-license", TAG), says("for commercial use"))
    return table


def machine() -> Table:
    """Options of all that compute."""
    table: Table = {}
    for command, line in ONE.items():
        if command == "download":
            continue
        training = command == "train-specs"
        asked = (*line, *JSON)
        table[command, "device"] = Demonstration(line, ("--device", "cuda:99"), status)
        table[command, "precision"] = Demonstration(line, ("--precision", "bf16"), precision_of)
        table[command, "quick_gelu"] = Demonstration(line, ("--no-quick-gelu",), status)
        table[command, "threads"] = Demonstration(line, ("--threads", "3"), lambda seen: seen.threads)
        seeded = losses if training else field("provenance", "seed")
        table[command, "seed"] = Demonstration(asked, ("--seed", "7"), seeded)
        missing = (*MISSING[command], "longclip-B")
        table[command, "download"] = Demonstration(missing, ("--download",), says("nothing is fetched in tests"))
        if training:
            continue
        table[command, "engine"] = Demonstration(asked, ("--engine", "openvino"), out)  # nothing, where it is missing
        table[command, "batch_size"] = Demonstration(asked, ("--batch-size", "3"), setting("batch_size"))
        other = (*[word for word in asked if word not in ("--model", TINY, LONG)],)
        table[command, "model"] = Demonstration((*other, "--no-download"), ("--model", "pictogram"), status)
    return table


def many() -> Table:
    """Options of the three that read records."""
    table: Table = {("eval", "fast_decode"): Demonstration((*EVAL, *JSON), FAST, setting("fast_decode"))}
    for command, line in MANY.items():
        noun = line[1:3]
        nothing = (command, *line[3:])
        table[command, "input"] = Demonstration(nothing, noun, status)
        table[command, "image_root"] = Demonstration(line, ("--image-root", "photos"), out)
        renamed = (command, "--input", "renamed.jsonl", *line[3:])
        table[command, "columns"] = Demonstration(renamed, ("--columns", "image=file,text=caption"), status)
        table[command, "keep_columns"] = Demonstration(line, ("--keep-columns", "all"), out)
        table[command, "limit"] = Demonstration(line, ("--limit", "1"), lines_out)
        table[command, "where"] = Demonstration(line, ("--where", "len(image) < 0"), lines_out)
        table[command, "top_share"] = Demonstration(line, ("--top-share", "0.1"), err)
        table[command, "on_error"] = Demonstration(line, ("--on-error", "fail"), lines_out)
        table[command, "timeout"] = Demonstration(line, ("--timeout", "0"), status)
        table[command, "shard"] = Demonstration(line, ("--shard", "1/2"), lines_out)
        if command != "classify":
            table[command, "fast_decode"] = Demonstration(line, FAST, out)
        table[command, "keep_vectors"] = Demonstration((*line, *CACHED), ("--keep-vectors", "1"), files)
        written = (*line, "--output", "found.jsonl")
        table[command, "output"] = Demonstration(line, ("--output", "found.jsonl"), files)
        table[command, "resume"] = Demonstration(written, ("--resume",), status, before=(written,))
        table[command, "overwrite"] = Demonstration(written, ("--overwrite",), status, before=(written,))
    return table


def detecting() -> Table:
    """What ``detect`` has alone, or with ``eval``."""
    asked, checked = (*DETECT, *JSON), (*MANY["detect"], "--limit", "1", "--check", "--epsilon", "1")
    table = {
        "mode": Demonstration(asked, ("--mode", "most-negative"), setting("mode")),
        "epsilon": Demonstration(asked, ("--epsilon", "-1"), field("misaligned")),
        "layers": Demonstration(asked, ("--layers", "1"), field("words")),
        "template": Demonstration(asked, ("--template", ""), field("cosine")),
        "calibration": Demonstration(asked, ("--calibration", "gone.json"), status),
        "reference": Demonstration(asked, ("--reference", "a car"), field("ref_clip_score")),
        "top": Demonstration((*DETECT, "--format", "table"), ("--top", "1"), lines_out),
        "suggest": Demonstration((*DETECT, "--epsilon", "1", *JSON), ("--suggest", "3"), field("suggestions")),
        "explain": Demonstration((*DETECT, *JSON), ("--explain",), field("heat_maps")),
        "candidates": Demonstration((*DETECT, "--suggest", "3"), ("--candidates", "gone.txt"), says("gone.txt")),
        "check": Demonstration(DETECT, ("--check",), status),
        "max_misaligned": Demonstration(checked, ("--max-misaligned", "100"), status),
        "min_clip_score": Demonstration((*checked, "--epsilon", "-1"), ("--min-clip-score", "3"), status),
        "ignore_words": Demonstration(checked, ("--ignore-words", "gone.txt"), status),
        "baseline": Demonstration(checked, ("--baseline", "gone.jsonl"), status),
        "update_baseline": Demonstration((*checked, "--baseline", "new.jsonl"), ("--update-baseline",), files),
        "exit_zero": Demonstration(checked, ("--exit-zero",), status),
    }
    return {("detect", name): one for name, one in table.items()}


def classifying() -> Table:
    """What ``classify`` has alone, or with ``eval``."""
    plain = ("classify", "a.png", "--model", TINY, *JSON)
    labels = (*plain, "--labels", "labels.txt")
    described = (*plain, "--descriptions", "d.json", "--explain", "--crops", "4")
    gone = (*plain, "--dataset", "dtd")
    table = {
        "labels": Demonstration(plain, ("--labels", "labels.txt"), status),
        "descriptions": Demonstration(labels, ("--descriptions", "d.json"), field("method")),
        "dataset": Demonstration(plain, ("--dataset", "dtd"), status),
        "data_root": Demonstration(gone, ("--data-root", "mine"), status),
        "describe_with": Demonstration(
            (*labels, "--offline"), ("--describe-with", "http://127.0.0.1:9/v1", "talker"), status
        ),
        "method": Demonstration(labels, ("--method", "clip-e"), field("method")),
        "crops": Demonstration(described, ("--crops", "2"), lambda seen: len(seen.record["crops"])),
        "alpha": Demonstration(described, ("--alpha", "0.9"), field("crops")),
        "image_logscale": Demonstration(described, ("--image-logscale", "0"), field("crops")),
        "text_logscale": Demonstration(described, ("--text-logscale", "0"), field("descriptions")),
        "template": Demonstration(labels, ("--template", "a drawing of a {}"), field("score")),
        "templates": Demonstration((*labels, "--method", "clip-e"), ("--templates", "templates.txt"), field("score")),
        "words": Demonstration((*labels, "--method", "waffle"), ("--words", "words.txt"), status),
        "top": Demonstration(labels, ("--top", "1"), field("classes")),
        "label": Demonstration(plain, ("--label", "car"), status),
        "probabilities": Demonstration(labels, ("--probabilities",), field("classes")),
        "reject_below": Demonstration(labels, ("--reject-below", "1"), field("class")),
        "explain": Demonstration(labels, ("--explain",), field("contributions")),
    }
    return {("classify", name): one for name, one in table.items()}


def scoring_long() -> Table:
    """What ``score-long`` has alone."""
    asked = (*LONGER, *JSON)
    several = ("score-long", "a.png", LOWERING, "--model", LONG, *JSON)
    table = {
        "text_file": Demonstration(asked, ("--text-file", "long.txt"), out),
        "by": Demonstration(
            (*asked[:2], "A red car near a cat, and a dog.", *asked[3:]), ("--by", "phrase"), sentences
        ),
        "contribution": Demonstration(several, ("--contribution", "increment"), sentences),
        "margin": Demonstration(several, ("--margin", "1"), sentences),
        "stretch": Demonstration((*LONGER[:4], TINY, *JSON), ("--no-stretch",), setting("context_tokens")),
        "check": Demonstration(several, ("--check",), status),
    }
    return {("score-long", name): one for name, one in table.items()}


LOWERING: Final = "A red car. A cat. Two dogs on a beach. Seven clocks. A man eats soup in the rain."
"""For the tiny model at least one of these sentences lowers the score."""


def sentences(seen: Seen) -> Any:
    return [(one["text"], one["contribution"], one["lowers"]) for one in seen.record["sentences"]]


def evaluating() -> Table:
    """What ``eval`` has beyond the model."""
    asked = (*EVAL, *JSON)
    described = ("--method", "wca", "--descriptions", "cifar.json", *JSON)
    classes = ("eval", "--dataset", "cifar10", "--data-root", "cifar", "--limit", "2", "--model", TINY, *described)
    pets = ("eval", "--dataset", "cifar10", "--data-root", "cifar", "--limit", "2", "--model", TINY, "--method")
    long = ("eval", "--dataset", "pictogram-long", "--limit", "2", "--model", TINY, *JSON)
    hat = ("eval", "--dataset", "hat", "--data-root", "hat", "--limit", "2", "--model", TINY, *JSON)
    folder = ("--output", "run")
    written = (*EVAL, *folder)
    compared = ("eval", "--compare", "better.jsonl", "worse.jsonl")
    table = {
        "dataset": Demonstration(("eval", *asked[3:]), asked[1:3], status),
        "columns": Demonstration(
            ("eval", "--dataset", "renamed.jsonl", "--dry-run"), ("--columns", "image=file,text=caption"), status
        ),
        "dry_run": Demonstration(asked, ("--dry-run",), out),
        "limit": Demonstration(asked, ("--limit", "4"), field("counts", "samples")),
        "data_root": Demonstration(("eval", "--dataset", "hat", *asked[3:]), ("--data-root", "mine"), says("mine")),
        "protocol": Demonstration(hat, ("--protocol", "exif"), field("settings", "protocol")),
        "stretch": Demonstration(long, ("--stretch",), field("settings", "context_tokens")),
        "sweep": Demonstration(asked, ("--sweep", "layers=1,2"), lambda seen: sorted(seen.record)),
        "compare_precision": Demonstration(
            asked, ("--compare-precision", "torch:fp32"), lambda seen: sorted(seen.record)
        ),
        "calibrate": Demonstration(asked, ("--calibrate",), lambda seen: sorted(seen.record)),
        "false_alarms": Demonstration((*asked, "--calibrate"), ("--false-alarms", "90%"), field("chosen")),
        "self_labeled": Demonstration((*asked, "--calibrate", "--limit", "8"), ("--self",), field("notes")),
        "save": Demonstration((*asked, "--calibrate"), ("--save", "found.json"), files),
        "mode": Demonstration(asked, ("--mode", "threshold"), field("settings", "mode")),
        "epsilon": Demonstration((*asked, "--mode", "threshold"), ("--epsilon", "-1"), field("settings", "epsilon")),
        "layers": Demonstration(asked, ("--layers", "1"), field("settings", "layers")),
        "template": Demonstration(asked, ("--template", ""), field("settings", "template")),
        "method": Demonstration(classes, ("--method", "clip"), lambda seen: sorted(seen.record["metrics"])),
        "crops": Demonstration(classes, ("--crops", "2"), field("settings", "crops")),
        "alpha": Demonstration(classes, ("--alpha", "0.9"), field("settings", "alpha")),
        "image_logscale": Demonstration(classes, ("--image-logscale", "0"), field("settings", "image_logscale")),
        "text_logscale": Demonstration(classes, ("--text-logscale", "0"), field("settings", "text_logscale")),
        "descriptions": Demonstration((*pets, "wca"), ("--descriptions", "gone.json"), says("gone.json")),
        "templates": Demonstration((*pets, "clip-e"), ("--templates", "gone.txt"), says("gone.txt")),
        "words": Demonstration((*pets, "waffle"), ("--words", "gone.txt"), says("gone.txt")),
        "keep_vectors": Demonstration((*EVAL, *CACHED), ("--keep-vectors", "1"), files),
        "output": Demonstration(EVAL, folder, files),
        "report": Demonstration(written, ("--report", "html"), files),
        "compare": Demonstration(("eval", *JSON), ("--compare", "run", "run"), status, before=(written,)),
        "verify": Demonstration(("eval", "--model", TINY), ("--verify", "better.jsonl"), status),
        "check": Demonstration(compared, ("--check",), status),
        "margin": Demonstration((*compared, "--check"), ("--margin", "2.5"), status),
        "resume": Demonstration(written, ("--resume",), status, before=(written,)),
        "overwrite": Demonstration(written, ("--overwrite",), status, before=(written,)),
        "on_error": Demonstration(
            ("eval", "--dataset", "hat", "--data-root", "torn", "--limit", "2", "--model", TINY, *JSON),
            ("--on-error", "fail"),
            says("none of the 2 samples"),
        ),
    }
    return {("eval", name): one for name, one in table.items()}


def losses(seen: Seen) -> Any:
    """The curve of a training run, without the clock."""
    lines = seen.files["run/metrics.jsonl"].splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "samples_per_second"} for line in lines]


def weights(seen: Seen) -> bytes:
    """What a training run made."""
    return seen.files["run/last.safetensors"]


def samples(seen: Seen) -> bytes:
    """What ``--prepare`` wrote to be trained on."""
    return seen.files["made/samples.jsonl"]


def training() -> Table:
    """What ``train-specs`` has beyond the machine."""
    held = (*TRAIN, "--data", "pictogram:12", "--held-out", "2", "--learning-rate", "0.01", "--warmup-steps", "0")
    raw = ("train-specs", "--prepare", "raw.jsonl", "--data", "made", "--workers", "1", *JSON)
    prepared = ("train-specs", "--data", "made", "--image-root", "photos", "--workers", "1")
    raw_here = (*raw, "--image-root", "photos")
    quick = (*TRAIN, "--learning-rate", "0.01", "--warmup-steps", "0")
    table = {
        "data": Demonstration(("train-specs", *TRAIN[3:]), ("--data", "pictogram:4"), status),
        "prepare": Demonstration(prepared, ("--prepare", "raw.jsonl"), status),
        "image_root": Demonstration(raw, ("--image-root", "photos"), out),
        "columns": Demonstration(
            ("train-specs", "--prepare", "renamed.jsonl", *raw[3:]), ("--columns", "image=file,text=caption"), err
        ),
        "by": Demonstration(raw_here, ("--by", "sentence"), samples),
        "caption_tokens": Demonstration(raw_here, ("--caption-tokens", "12"), samples),
        "shuffled": Demonstration(raw_here, ("--shuffled", "0"), samples),
        "min_words": Demonstration(raw_here, ("--min-words", "20"), out),
        "limit": Demonstration(raw_here, ("--limit", "1"), out),
        "held_out": Demonstration(held, ("--held-out", "1"), losses),
        "workers": Demonstration(TRAIN, ("--workers", "0"), status),
        "init": Demonstration(
            (*[w for w in TRAIN if w not in ("--init", LONG)], "--no-download"), ("--init", LONG), status
        ),
        "output": Demonstration(("train-specs", "--data", "pictogram:4", "--init", LONG), ("--output", "run"), err),
        "resume": Demonstration(TRAIN, ("--resume",), status, before=(TRAIN,)),
        "overwrite": Demonstration(TRAIN, ("--overwrite",), status, before=(TRAIN,)),
        "objective": Demonstration(TRAIN, ("--objective", "longclip"), losses),
        "epochs": Demonstration(TRAIN, ("--epochs", "2"), losses),
        "batch_size": Demonstration(TRAIN, ("--batch-size", "4"), losses),
        "accumulate": Demonstration(TRAIN, ("--accumulate", "2"), losses),
        "draws": Demonstration(TRAIN, ("--draws", "2"), losses),
        "learning_rate": Demonstration(TRAIN, ("--learning-rate", "0.01"), weights),
        "warmup_steps": Demonstration(TRAIN, ("--warmup-steps", "1"), weights),
        "weight_decay": Demonstration(quick, ("--weight-decay", "5"), weights),
        "clip_norm": Demonstration(quick, ("--clip-norm", "0.000000001"), weights),
        "lambda_contrastive": Demonstration(TRAIN, ("--lambda-contrastive", "5"), losses),
        "lambda_detail": Demonstration(TRAIN, ("--lambda-detail", "5"), losses),
        "lambda_negative": Demonstration(quick, ("--lambda-negative", "50"), weights),
        "lambda_short": Demonstration(TRAIN, ("--lambda-short", "5"), losses),
        "hinge_margin": Demonstration(TRAIN, ("--hinge-margin", "0.5"), losses),
        "gather": Demonstration(TRAIN, ("--gather",), checkpoint),
        "freeze": Demonstration(quick, ("--freeze", "text"), weights),
        "blend": Demonstration(held, ("--blend", "0.5"), losses),
        "recompute": Demonstration(TRAIN, ("--recompute",), checkpoint),
        "validate_every": Demonstration(held, ("--validate-every", "1"), losses),
        "save_every": Demonstration(TRAIN, ("--save-every", "1"), lambda seen: seen.files["saved"]),
    }
    return {("train-specs", name): one for name, one in table.items()}


def checkpoint(seen: Seen) -> bytes:
    """The state of the last one."""
    return next(content for name, content in seen.files.items() if name.endswith("state.pt"))


def downloading() -> Table:
    """The tasks of ``download``."""
    gone = ("download", "longclip-B")
    stocked = ("download", "ViT-B-32", "--cache-dir", "stocked")
    table = {
        "list_them": Demonstration(gone, ("--list",), status),
        "dry_run": Demonstration(gone, ("--dry-run",), status),
        "verify": Demonstration((*stocked, "--list"), (), err, instead=(*stocked, "--verify")),
        "remove": Demonstration((*stocked, "--list"), (), files, instead=(*stocked, "--remove")),
        "handed_over": Demonstration(
            ("download", "cub", "--accept-license", "cub"), ("--from", "labels.txt"), says("labels.txt")
        ),
    }
    return {("download", name): one for name, one in table.items()}


DEMONSTRATIONS: Final[Table] = (
    everywhere() | machine() | many() | detecting() | classifying() | scoring_long() | evaluating() | training()
) | downloading()
