"""What the benchmarks measure on: ViT-B/32 with random weights, real captions, pictures like photographs.

Speed does not depend on what weights say, so none have to be fetched. Captions are those of nocaps-FOIL where its file
lies beside the checkout, else those of ``captions.txt``; every figure says which.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from clipalign.device import TORCH, DeviceChoice, choose_device, torch_dtype
from clipalign.errors import DeviceUnavailable
from clipalign.methods.settings import DEFAULT_TEMPLATE
from clipalign.models.engines import attach_engine
from clipalign.models.load import import_open_clip
from clipalign.models.model import LoadedModel
from clipalign.models.tokenize import tokenize_text
from tests.parity.oracle import relevance
from tests.tiny import wrap

HERE: Final = Path(__file__).parent
DATA: Final = HERE.parents[2] / "shared" / "data"
NOCAPS: Final = DATA / "nocaps-val-foil.json"
PHOTO: Final = DATA / "a_cup_of_coffee.jpg"
CAPTIONS: Final = 64
LAYERS: Final = 3


def random_vit_b_32(device: str = "cpu", precision: str = "fp32") -> LoadedModel:
    """ViT-B/32 with QuickGELU and open_clip's random initial weights."""
    open_clip = import_open_clip()
    torch.manual_seed(0)
    network = open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu"))
    return at(wrap(network, name="ViT-B-32 (random)", image_size=224, quick_gelu=True), device, precision)


def at(loaded: LoadedModel, device: str, precision: str) -> LoadedModel:
    """The same model elsewhere; as it is where it is there already."""
    if (loaded.choice.device, loaded.choice.precision) == (device, precision):
        return loaded
    choice = DeviceChoice(device, precision, "of a benchmark")
    return dataclasses.replace(
        loaded, network=copy.deepcopy(loaded.network).to(device, torch_dtype(choice)), choice=choice
    )


def in_bf16(loaded: LoadedModel) -> LoadedModel | str:
    """The same model with its weights held in bf16, or why the device manager would refuse it."""
    choice = choose_device("cpu", "bf16")
    return at(loaded, "cpu", "bf16") if choice.precision == "bf16" else choice.reason.rpartition(": ")[2]


def in_openvino(loaded: LoadedModel, precision: str) -> LoadedModel | str:
    """The same model with its image tower in OpenVINO, or why it cannot be."""
    choice = choose_device("cpu", precision, engine="auto", many=True)
    if choice.engine == TORCH or choice.precision != precision:
        return "OpenVINO is not installed" if choice.engine == TORCH else choice.reason.rpartition(": ")[2]
    found = dataclasses.replace(loaded, choice=dataclasses.replace(choice, engine="openvino"))
    try:
        attach_engine(found)
    except DeviceUnavailable as error:
        return error.message
    if torch_dtype(found.choice) != torch.float32:
        found.network = copy.deepcopy(loaded.network).to(torch_dtype(found.choice))
    return found


def real_captions() -> tuple[list[str], str]:
    """64 captions, and where they come from."""
    if NOCAPS.exists():
        samples = json.loads(NOCAPS.read_text(encoding="utf-8"))
        return [sample["baseline"].strip() for sample in samples[:: len(samples) // CAPTIONS][:CAPTIONS]], NOCAPS.name
    return (HERE / "captions.txt").read_text(encoding="utf-8").splitlines()[:CAPTIONS], "captions.txt"


def random_pictures(count: int) -> list[Image.Image]:
    """Pictures of a camera's proportions, in memory."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 12, 16, 3), dtype=np.uint8)
    return [Image.fromarray(picture).resize((640, 480), Image.Resampling.BICUBIC) for picture in coarse]


def photos(count: int, size: tuple[int, int]) -> list[Image.Image]:
    """Pictures with the fine detail of photographs: the real one where it is there, blended with random ones."""
    rng = np.random.default_rng(0)
    ground = Image.open(PHOTO).convert("RGB") if PHOTO.exists() else None
    found = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        fine = Image.fromarray(rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)).resize(size)
        picture = Image.blend(coarse, fine, 0.15)
        found.append(
            picture if ground is None else Image.blend(ground.resize(size, Image.Resampling.BICUBIC), picture, 0.5)
        )
    return found


def jpegs(pictures: Sequence[Image.Image]) -> list[bytes]:
    """Pictures as files of a camera have them."""
    found = []
    for picture in pictures:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=90)
        found.append(stream.getvalue())
    return found


@dataclasses.dataclass(frozen=True)
class Files:
    """A folder of pictures with a table of pairs."""

    table: Path
    pictures: list[Path]
    captions: list[str]


def written(folder: Path, captions: Sequence[str], pictures: int, size: tuple[int, int], *, distinct: int) -> Files:
    """``pictures`` JPEG files, ``distinct`` ones in turn, and a table: as many captions a picture as come out even."""
    folder.mkdir()
    made = jpegs(photos(distinct, size))
    paths = []
    for index in range(pictures):
        path = folder / f"{index:04}.jpg"
        path.write_bytes(made[index % distinct])
        paths.append(path)
    per_image = len(captions) // pictures
    rows = [{"image": str(paths[index // per_image]), "text": text} for index, text in enumerate(captions)]
    table = folder / "pairs.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Files(table, [Path(row["image"]) for row in rows], list(captions))


def random_vectors(loaded: LoadedModel, count: int) -> torch.Tensor:
    """Unit vectors of as many pictures, of the width that the model's have."""
    width = loaded.network.text_projection.shape[-1]
    return torch.nn.functional.normalize(torch.randn(count, width), dim=-1)


def ids_of(loaded: LoadedModel, text: str) -> torch.Tensor:
    """Template and text as the straightforward program reads them, padded to the context."""
    tokens = tokenize_text(loaded, DEFAULT_TEMPLATE + text)
    return torch.tensor(tokens.ids + tokens.padding, device=loaded.choice.device)


def one_by_one(network: Any, loaded: LoadedModel, picture: torch.Tensor, text: str) -> None:
    """The straightforward program, for one pair.

    Both towers run in gradient mode over a network as open_clip loads it (:func:`tests.parity.oracle.with_gradients`),
    the text over its whole context, and each of the k gradients is asked for by itself.
    """
    batch = picture[None].to(loaded.choice.device, next(network.parameters()).dtype)
    image = network.encode_image(batch, normalize=True)[0]
    relevance(network, image, ids_of(loaded, text), layers=LAYERS)
