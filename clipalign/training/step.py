"""One training step: batches to gradients, gradients to new weights.

Gradients of all batches of a step, on all processes, are averaged. If their norm is not finite, the weights do not
move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from clipalign.device import to_device
from clipalign.runs.distributed import Processes
from clipalign.training.batches import Batch
from clipalign.training.loss import SpecsFeatures, longclip_loss, short_loss, specs_loss
from clipalign.training.model import TrainableModel
from clipalign.training.settings import SpecsSettings


class StepResult(NamedTuple):
    """What a step did.

    ``means`` are over all batches and processes, of the ``loss``, each of its terms, and the gradients' ``norm`` before
    clipping; None for what is not finite. ``epsilon`` is that after the last batch.
    """

    means: dict[str, float | None]
    epsilon: float
    moved: bool


class TrainStep:
    def __init__(self, trainee: TrainableModel, settings: SpecsSettings, processes: Processes) -> None:
        self._trainee, self._settings, self._processes = trainee, settings, processes
        self._device = trainee.loaded.choice.device
        self._parameters = list(trainee.parameters.values())
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._scaler = GradScaler(self._device.partition(":")[0], enabled=settings.precision == "fp16")

    @property
    def scales(self) -> bool:
        """Whether losses are scaled (fp16), so that a step now and then is skipped on purpose."""
        return self._scaler.is_enabled()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])

    def step(self, batches: Sequence[Batch], *, learning_rate: float, epsilon: float) -> StepResult:
        """Move the weights once, with the gradients of ``batches``; ``epsilon`` is that of the last step's result."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        means: dict[str, float] = {}
        for batch in batches:
            terms, following = self._terms(batch, epsilon)
            terms = {"loss": torch.stack(list(terms.values())).sum(), **terms}
            # As published, also where an epoch's last step has fewer batches.
            self._scaler.scale(terms["loss"] / self._settings.accumulate).backward()
            epsilon = following if math.isfinite(following) else epsilon
            for name, term in terms.items():
                means[name] = means.get(name, 0.0) + float(term.detach()) / len(batches)
        norm, moved = self._move()
        shared = self._processes.sum(torch.tensor(list(means.values()), dtype=torch.float64)) / self._processes.size
        record = dict(zip(means, shared.tolist(), strict=True)) | {"norm": norm}
        return StepResult(_finite_or_none(record), epsilon, moved)

    def _terms(self, batch: Batch, epsilon: float) -> tuple[dict[str, Tensor], float]:
        trainee, settings, processes = self._trainee, self._settings, self._processes
        pixels = to_device(batch.pixels, self._device)
        with self._mixed():
            images = trainee.encode_pictures(pixels) if trainee.image_learns else pixels
            texts = trainee.reader.read([*batch.texts, *batch.shorts])  # (P, E)
        captions, triples, owners = _places(batch, texts.device)
        shorts = texts[sum(map(len, batch.texts)) :].unflatten(0, (-1, len(batch.shorts[0]))) if batch.shorts else None
        if settings.objective == "longclip":
            assert shorts is not None
            fine, coarse = longclip_loss(
                images, texts[captions], shorts[:, 0], trainee.logit_scale, gather=processes.gather_rows
            )
            return {"long": fine, "short": coarse}, epsilon
        all_images, first_row = processes.gather_rows(images) if settings.gather else (images, 0)
        bases, details, negatives = (texts[indices] for indices in triples)
        loss = specs_loss(
            SpecsFeatures(images, texts[captions], bases, details, negatives, owners),
            trainee.logit_scale,
            settings,
            epsilon=epsilon,
            all_images=all_images,
            first_row=first_row,
            mean=processes.mean,
        )
        terms = {"contrastive": loss.contrastive, "detail": loss.detail, "negative": loss.negative}
        if shorts is not None:
            if settings.gather:
                shorts = processes.gather_rows(shorts.flatten(1))[0].unflatten(1, shorts.shape[1:])
            short = short_loss(images, shorts, trainee.logit_scale, all_images=all_images, first_row=first_row)
            terms["short"] = settings.lambda_short * short
        return terms, loss.epsilon

    def _mixed(self) -> AbstractContextManager[Any]:
        precision = self._settings.precision
        if precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if precision == "bf16" else torch.float16
        return torch.autocast(self._device.partition(":")[0], dtype=dtype)

    def _move(self) -> tuple[float, bool]:
        """Average the gradients, and move the weights unless their norm, which is returned, is not finite."""
        self._processes.average_gradients(self._parameters)
        self._scaler.unscale_(self._optimizer)
        norm = float(nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_norm or math.inf))
        moved = math.isfinite(norm)
        if moved or self._scaler.is_enabled():  # the scaler skips such a step itself, and learns from it
            self._scaler.step(self._optimizer)
            self._scaler.update()
        return norm, moved


def _places(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of the texts, sample after sample: of captions (B), of triples (3, N), and their samples (N)."""
    first = list(accumulate((len(texts) for texts in batch.texts), initial=0))[:-1]
    triples = [[first[row] + index for index in triple] for row, some in enumerate(batch.triples) for triple in some]
    owners = [row for row, some in enumerate(batch.triples) for _ in some]
    return (
        torch.tensor(first, device=device),
        torch.tensor(triples, device=device, dtype=torch.long).view(-1, 3).T,
        torch.tensor(owners, device=device, dtype=torch.long),
    )


def _finite_or_none(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
