"""The product's own code in fp64, where what its arithmetic gives does not depend on the processor.

The golden values are what the originals gave in fp32 on one processor, and fp32 kernels of other processors add up in
another order. With the golden models that moves a CLIPScore by up to 1.2e-6, the unchanged open_clip network's as much
as ours; every step of the network has its share in that, so that only the whole network in fp64 would do better. So
golden CLIPScores and cosines are held against the product in fp64, from which they are at most 9.7e-7; and what the
product gives in fp32 against what the network gives there on the same processor (:func:`check_exactness`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import sub
from statistics import fmean

import pytest
import torch
from PIL import Image
from torch import Tensor

from clipalign.data.transforms import to_tensor
from clipalign.models import encode
from clipalign.models.model import LoadedModel
from clipalign.models.tokenize import tokenize_text


@contextmanager
def in_fp64(loaded: LoadedModel) -> Iterator[LoadedModel]:
    """A copy of ``loaded`` in fp64; until the end of the block, what the product narrows to fp32 stays fp64 too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        patch.setattr(encode, "torch_dtype", lambda choice: torch.float64)
        yield replace(loaded, network=copy.deepcopy(loaded.network).double())


def check_exactness(loaded: LoadedModel, asked: Sequence[tuple[Image.Image, str]], cosines: Sequence[float]) -> None:
    """Whether fp32 ``cosines`` of pictures and texts are about as near fp64 as the network's own on this processor."""
    plain = [_network_cosine(loaded, *one) for one in asked]
    with in_fp64(loaded) as exact:
        truth = [_network_cosine(exact, *one) for one in asked]
    ours, theirs = (fmean(map(abs, map(sub, found, truth))) for found in (cosines, plain))
    assert ours <= 2 * theirs


@torch.no_grad()
def _network_cosine(loaded: LoadedModel, image: Image.Image, text: str) -> float:
    """What the network says by itself, one picture and one padded text at a time, as the originals ask it."""
    network, tokens = loaded.network, tokenize_text(loaded, text)
    pixels = to_tensor(image.convert("RGB"), loaded)[None].to(network.logit_scale.dtype)
    picture = network.encode_image(pixels, normalize=True)
    words = network.encode_text(torch.tensor([tokens.ids + tokens.padding]), normalize=True)
    return float((picture.double() * words.double()).sum())
