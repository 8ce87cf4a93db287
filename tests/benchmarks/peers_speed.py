"""What a user would run instead of ``detect``, from the same JPEG files; architecture ViT-B/32, random weights.

    python -m tests.benchmarks.peers_speed

The others score a caption with one number and mark no words: open_clip in a loop over pairs, as its README shows it;
CLIPScore of torchmetrics, on CLIP of transformers in the same shapes; open_clip in batches that a ``DataLoader`` reads
and pads, as programs that evaluate CLIP do it. ``detect`` reads, scores, marks and writes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from torch.utils.data import DataLoader

from clipalign.models.load import import_open_clip
from clipalign.models.model import LoadedModel
from tests.benchmarks.batch_speed import SMALL, from_files
from tests.benchmarks.measure import Bench, Measured, Reading, Row, alone
from tests.benchmarks.subjects import Files, in_openvino, random_vit_b_32, real_captions, written

BATCH: Final = 64
ROUNDS: Final = 3


def transform(loaded: LoadedModel) -> Callable[[Image.Image], torch.Tensor]:
    """open_clip's own, of this model."""
    made: Callable[[Image.Image], torch.Tensor] = import_open_clip().image_transform(
        loaded.image_size, is_train=False, mean=loaded.mean, std=loaded.std
    )
    return made


@torch.no_grad()
def score(loaded: LoadedModel, pictures: torch.Tensor, texts: Sequence[str]) -> list[float]:
    """Cosines as open_clip computes them, every text padded to the context."""
    images = loaded.network.encode_image(pictures, normalize=True)
    words = loaded.network.encode_text(loaded.tokenizer(list(texts)), normalize=True)
    found: list[float] = (images * words).sum(-1).tolist()
    return found


def in_a_loop(loaded: LoadedModel, files: Files) -> Callable[[], object]:
    """A pair at a time."""
    prepare = transform(loaded)

    def run() -> None:
        for path, caption in zip(files.pictures, files.captions, strict=True):
            with Image.open(path) as picture:
                score(loaded, prepare(picture)[None], [caption])

    return run


class _Pairs:
    """What a ``DataLoader`` reads."""

    def __init__(self, files: Files, prepare: Callable[[Image.Image], torch.Tensor]) -> None:
        self.files, self.prepare = files, prepare

    def __len__(self) -> int:
        return len(self.files.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        with Image.open(self.files.pictures[index]) as picture:
            return self.prepare(picture), self.files.captions[index]


def in_batches(loaded: LoadedModel, files: Files) -> Callable[[], object]:
    """Batches of 64, read in the process itself: on two cores processes beside it gain nothing."""
    batches: DataLoader[Any] = DataLoader(_Pairs(files, transform(loaded)), batch_size=BATCH)  # type: ignore[arg-type]

    def run() -> None:
        for pictures, texts in batches:
            score(loaded, pictures, texts)

    return run


class _Processor:
    """Pictures by transformers; tokens by open_clip, as those of transformers have to be fetched."""

    def __init__(self, loaded: LoadedModel) -> None:
        from transformers import CLIPImageProcessor

        self.loaded, self.of_pictures = loaded, CLIPImageProcessor()

    def __call__(self, text: Sequence[str] = (), images: Sequence[torch.Tensor] = (), **more: Any) -> dict[str, Any]:
        if images:
            return dict(self.of_pictures(images=list(images), return_tensors="pt"))
        ids = self.loaded.tokenizer(list(text))
        ids = ids[:, : int((ids != 0).sum(1).max())]
        return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def by_torchmetrics(loaded: LoadedModel, files: Files) -> Callable[[], object] | str:
    """Batches of 64 through its ``CLIPScore``, or why not."""
    try:
        from torchmetrics.multimodal import CLIPScore
        from transformers import CLIPConfig, CLIPModel
    except ImportError as error:
        return f"{error.name} is not installed"
    if int(version("transformers").partition(".")[0]) >= 5:
        return "torchmetrics 1.9 fails with transformers 5"
    from torchvision.io import decode_image

    metric = CLIPScore(lambda: (CLIPModel(CLIPConfig()).eval(), _Processor(loaded)))

    @torch.no_grad()
    def run() -> None:
        for begin in range(0, len(files.captions), BATCH):
            some = slice(begin, begin + BATCH)
            metric.update([decode_image(str(path)) for path in files.pictures[some]], files.captions[some])
        metric.compute()

    return run


def measure(bench: Bench) -> Measured:
    """All rows."""
    loaded = random_vit_b_32()
    captions, source = real_captions()
    count = bench.of(64, 16)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = written(folder / "pictures", captions[:count], count, SMALL, distinct=16)
        ours = {
            name: other if isinstance(other, str) else from_files(other, files, folder / "out.jsonl")
            for name, other in {
                "fp32": loaded,
                "fp32, OpenVINO": in_openvino(loaded, "fp32"),
                "int8, OpenVINO": in_openvino(loaded, "int8"),
            }.items()
        }
        loop, batches = "open_clip's cosine, a pair at a time", "open_clip's cosine, in batches of 64"
        others = {loop: in_a_loop(loaded, files), batches: in_batches(loaded, files)}
        theirs = {**others, "torchmetrics' `CLIPScore`, in batches of 64": by_torchmetrics(loaded, files)}
        goals = {("fp32", batches): 0.55, ("fp32, OpenVINO", batches): 0.55, ("int8, OpenVINO", batches): 0.25}
        rows: list[Row] = []
        missing: dict[str, str] = {}
        for precision, candidate in ours.items():
            for against, baseline in theirs.items():
                what = f"`detect --input` in {precision}, JPEG of 500 × 375, a caption each"
                if isinstance(candidate, str) or isinstance(baseline, str):
                    missing[f"{what}, against {against}"] = candidate if isinstance(candidate, str) else str(baseline)
                    continue
                rows.append(
                    bench.turns(baseline, count, candidate, count, rounds=ROUNDS).row(
                        f"peers-{len(rows) + len(missing)}",
                        what,
                        against,
                        Reading.COST,
                        bench,
                        goal=goals.get((precision, against)),
                        item="pair",
                        precision=precision.partition(",")[0],
                    )
                )
    return Measured(rows, [f"captions of {source}; the others give a number a caption, and no words"], missing)


if __name__ == "__main__":
    alone(measure, __doc__)
