"""Mean scores over a data set as metrics of torchmetrics (``pip install 'clipalign[torchmetrics]'``).

Each is updated with pictures and texts, and gives the mean over all pairs, over all processes where there are several.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from clipalign.data.in_memory import each_picture
from clipalign.errors import UsageError, need
from clipalign.session import Session, load

Metric: Any = need("torchmetrics", extra="torchmetrics", what="clipalign.metrics").Metric


class _MeanScore(Metric):  # type: ignore[misc]
    """The mean of one number of a method's results.

    Args:
        model: as for :func:`clipalign.load`, or a :class:`~clipalign.Session`.
        device: of a model that is named, as for :func:`clipalign.load`.
        settings: of the method.
    """

    is_differentiable = False
    full_state_update = False
    method: ClassVar[str]
    number: ClassVar[str]
    total: Tensor
    pairs: Tensor

    def __init__(self, model: str | Session, *, device: str = "auto", **settings: Any) -> None:
        super().__init__()
        session = load(model, device=device) if isinstance(model, str) else model
        self._session, self._scorer = session, session.scorer(self.method, **settings)
        self.add_state("total", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pairs", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Any, texts: str | Iterable[str]) -> None:
        """Add pairs: a picture and a text, or as many of both; a tensor (B, 3, H, W) is B pictures.

        Raises:
            UsageError: their numbers differ.
            ImageUnreadable, TextUnusable: one that cannot be scored; nothing of the call counts then.
        """
        pictures, captions = list(each_picture(images)), [texts] if isinstance(texts, str) else list(texts)
        if len(pictures) != len(captions):
            what = f"there are {len(pictures)} images and {len(captions)} texts"
            raise UsageError(what, hint="give a text for each image", input="texts")
        pairs = zip(pictures, captions, strict=True)
        found = [getattr(one, self.number) for one in self._session.run(self._scorer, pairs, on_error="fail")]
        self.total += sum(found)
        self.pairs += len(found)

    def compute(self) -> Tensor:
        """The mean, fp32; not-a-number before the first pair."""
        return (self.total / self.pairs).float()


class ClipScore(_MeanScore):
    """Mean CLIPScore, ``2.5 · max(cosine, 0)``, 0 to 2.5; higher fits better (Hessel et al., 2021).

    The text is read behind ``detect``'s template, "A photo depicts ".

    Example:
        >>> from clipalign.metrics import ClipScore
        >>> metric = ClipScore("pictogram")
        >>> metric.update(["images/fruit.png"] * 2, ["two apples", "a pear"])
        >>> 0 < float(metric.compute()) < 2.5
        True
    """

    method = "detect"
    number = "clip_score"
    higher_is_better = True


class FClipScore(_MeanScore):
    """Mean F-CLIPScore, at most 0 while epsilon is not positive; closer to 0 fits better (CLIP4DM).

    Example:
        >>> from clipalign.metrics import FClipScore
        >>> metric = FClipScore("pictogram")
        >>> metric.update("images/fruit.png", "two apples and a pear")
        >>> float(metric.compute()) < 0
        True
    """

    method = "detect"
    number = "f_clip_score"
    higher_is_better = True


class SpecsScore(_MeanScore):
    """Mean ``(cosine + 1) / 2`` of long texts, 0 to 1; higher fits better (SPECS).

    Example:
        >>> from clipalign.metrics import SpecsScore
        >>> metric = SpecsScore("pictogram-long")
        >>> metric.update("images/fruit.png", "There are two apples. They lie on the ground.")
        >>> 0 < float(metric.compute()) < 1
        True
    """

    method = "score-long"
    number = "specs_score"
    higher_is_better = True
