"""WCA as its paper writes it down: one crop, one sentence at a time, a double sum, nothing collapsed or cached."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image

from clipalign.data.transforms import to_tensor
from clipalign.models.model import LoadedModel
from clipalign.models.tokenize import tokenize_text


@torch.no_grad()
def wca_score(
    loaded: LoadedModel, whole: Image.Image, crops: Sequence[Image.Image], name: str, sentences: Sequence[str]
) -> float:
    """``Σ_i Σ_j w_i v_j cos(x_i, y_j)``, divided by the lengths of both weighted sums."""
    x_0 = _image(loaded, whole)
    label = _text(loaded, f"a photo of a {name}.")
    xs = [_image(loaded, crop) for crop in crops]
    ys = [_text(loaded, sentence) for sentence in sentences]
    w = _softmax([math.exp(4.0) * float(x_0 @ x) for x in xs])
    v = _softmax([math.exp(2.0) * float(label @ y) for y in ys])
    total = sum(w[i] * v[j] * float(xs[i] @ ys[j]) for i in range(len(xs)) for j in range(len(ys)))
    lengths = [
        math.sqrt(sum(a * b * float(p @ q) for a, p in weighted for b, q in weighted))
        for weighted in (list(zip(w, xs, strict=True)), list(zip(v, ys, strict=True)))
    ]
    return total / (lengths[0] * lengths[1])


def _image(loaded: LoadedModel, picture: Image.Image) -> torch.Tensor:
    vector: torch.Tensor = loaded.network.encode_image(to_tensor(picture.convert("RGB"), loaded)[None])[0].double()
    return torch.nn.functional.normalize(vector, dim=-1)


def _text(loaded: LoadedModel, text: str) -> torch.Tensor:
    tokens = tokenize_text(loaded, text)
    vector: torch.Tensor = loaded.network.encode_text(torch.tensor([tokens.ids + tokens.padding]))[0].double()
    return torch.nn.functional.normalize(vector, dim=-1)


def _softmax(values: Sequence[float]) -> list[float]:
    largest = max(values)
    exponentials = [math.exp(value - largest) for value in values]
    return [one / sum(exponentials) for one in exponentials]
