"""Suggest the known name that an unknown one is probably a misspelling of."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

MAX_GUESSES: Final = 2
MIN_SIMILARITY: Final = 0.7
"""Accepts swapped letters, but not ``gpu`` for ``cpu``."""


OTHER_TOOLS: Final[dict[str, str]] = {
    "--format json": "--json",
    "--format csv": "--csv",
    "--format html": "--html",
    "--format": "--output-format --out-format",
    "--input": "--input-file --file --csv-file --url-list --train-data --val-data",
    "--columns text=NAME": "--caption-column --text-column --caption-col --text-col --csv-caption-key --caption-key",
    "--columns image=NAME": "--image-column --image-col --url-col --csv-img-key --img-key --image-key --path-column",
    "--columns id=NAME": "--id-column --id-col",
    "--keep-columns": "--save-additional-columns",
    "--image-root": "--image-dir --image-folder --img-dir --images --images-dir --root",
    "--output": "--out --output-path --output-file --output-folder --output-dir --save-path --logs --results",
    "--overwrite": "--force --overwrite-output",
    "--limit": "--max-samples --num-samples --max-records --head",
    "--model ARCHITECTURE@TAG": "--pretrained",
    "--model": "--model-name --model-path --model-name-or-path --model-args --arch --backbone --checkpoint --ckpt",
    "--batch-size": "--bs --per-device-eval-batch-size",
    "--device cuda": "--gpu --cuda",
    "--device cpu": "--cpu --no-cuda",
    "--precision fp16": "--fp16 --half",
    "--precision bf16": "--bf16",
    "--precision": "--dtype --torch-dtype --amp",
    "--threads": "--num-threads --jobs --thread-count",
    "--workers": "--num-workers --processes-count",
    "--epsilon": "--threshold",
    "--top": "--top-k --topk",
    "--label": "--class --class-name",
    "--labels": "--classes --class-names --classnames",
    "--template": "--prompt --prompt-template --prefix",
    "--dataset": "--task --tasks --benchmark",
    "--data-root": "--dataset-root --data-dir",
    "--data": "--train-data --dataset-path",
    "--freeze image": "--lock-image",
    "--freeze text": "--lock-text",
    "--recompute": "--grad-checkpointing --gradient-checkpointing",
    "--accumulate": "--accum-freq --gradient-accumulation-steps",
    "--learning-rate": "--lr",
    "--weight-decay": "--wd",
    "--warmup-steps": "--warmup",
    "--cache-dir": "--cache --download-root",
    "--accept-license": "--yes",
}
"""What clipalign calls the options of other tools: torchmetrics, open_clip, img2dataset, lm-eval and transformers."""


def translation(typed: str, known: Iterable[str]) -> str:
    """Return a hint with the option, one of ``known``, that another tool calls ``typed``; or an empty string."""
    plain, options = typed.lower().replace("_", "-").partition("=")[0], set(known)
    found = (ours for ours, theirs in OTHER_TOOLS.items() if plain in theirs.split() and ours.split()[0] in options)
    return f"here it is {ours}" if (ours := next(found, "")) else ""


def suggestion(typed: str, known: Iterable[str]) -> str:
    """Return a hint with the one or two most similar names, or an empty string."""
    lowered = {name.lower(): name for name in known}
    close = get_close_matches(typed.lower(), list(lowered), n=MAX_GUESSES, cutoff=MIN_SIMILARITY)
    return f"did you mean {' or '.join(lowered[name] for name in close)}?" if close else ""
