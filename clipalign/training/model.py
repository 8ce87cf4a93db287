"""The network in training: a loaded model made to read 248 tokens, the towers that learn, and its form on disk.

Norms with running statistics and dropout stay in evaluation mode, so that a step does not depend on which samples share
a batch.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from clipalign.errors import ModelMismatch, UsageError
from clipalign.files import write_whole
from clipalign.models.image_encoder import encode_pictures
from clipalign.models.load import import_open_clip
from clipalign.models.long_context import can_be_stretched, stretched
from clipalign.models.model import LoadedModel
from clipalign.models.registry import LONG_CONTEXT_TOKENS
from clipalign.models.tokenize import tokenize_text
from clipalign.training.settings import TOWERS
from clipalign.training.texts import TextReader

_CONTROL_TOKENS: Final = ("<start_of_text>", "<end_of_text>")


@dataclass(frozen=True, slots=True)
class TrainableModel:
    """A network that learns; ``parameters`` are those that do, by name, in the network's own order.

    ``loaded`` is the model, with 248 tokens or more; ``image_learns`` says whether the image tower is trained.
    """

    loaded: LoadedModel
    reader: TextReader
    parameters: dict[str, nn.Parameter]
    image_learns: bool

    @property
    def network(self) -> Any:
        return self.loaded.network

    @property
    def logit_scale(self) -> Tensor:
        """Before ``exp``."""
        scale: Tensor = self.network.logit_scale
        return scale

    def encode(self, text: str) -> tuple[int, ...]:
        tokenizer: Any = self.loaded.tokenizer
        if any(token in text.lower() for token in _CONTROL_TOKENS):  # not to be taken for the tokens themselves
            return tokenize_text(self.loaded, text).ids
        body = self.loaded.context_tokens - 2
        return (tokenizer.sot_token_id, *tokenizer.encode(text)[:body], tokenizer.eot_token_id)

    def encode_pictures(self, pixels: Tensor) -> Tensor:
        """Unit vectors (B, E), fp32, of prepared pictures (B, 3, S, S) on the model's device."""
        whole = self.reader.recompute or not self.image_learns
        features = self.network.encode_image(pixels) if whole else encode_pictures(self.network, pixels)
        return F.normalize(features.float(), dim=-1)

    def image_tower_digest(self) -> str:
        """Identify the image tower: SHA-256 of its weights and of its preprocessing."""
        digest = hashlib.sha256(json.dumps(self.config()["preprocess_cfg"]).encode())
        for name, value in sorted(self.network.visual.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def config(self) -> dict[str, Any]:
        """The network's open_clip config, in the Hub's form, with its preprocessing."""
        loaded = self.loaded
        model = copy.deepcopy(loaded.config) | {"quick_gelu": loaded.quick_gelu}
        model["text_cfg"]["context_length"] = loaded.context_tokens
        preprocess = {
            "mean": list(loaded.mean),
            "std": list(loaded.std),
            "interpolation": loaded.interpolation,
            "resize_mode": loaded.resize_mode,
            "fill_color": loaded.fill_color,
        }
        return {"model_cfg": model, "preprocess_cfg": preprocess}

    def weights(self) -> dict[str, Tensor]:
        """All weights, fp32, on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}

    @contextmanager
    def blended(self, start: dict[str, Tensor], share: float) -> Iterator[None]:
        """Put each weight that learns at ``share`` (0 to 1) of the way from its start, while the block runs."""
        if share == 1:
            yield
            return
        trained = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        try:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(torch.lerp(start[name], trained[name], share))
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(trained[name])

    def load_weights(self, tensors: dict[str, Tensor], where: str) -> None:
        """Load weights that this network wrote; ModelMismatch if their shapes differ."""
        own = self.network.state_dict()
        wrong = [name for name in {**own, **tensors} if name not in own or name not in tensors]
        wrong += [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
        if wrong:
            raise ModelMismatch(
                f"{where} holds a network of another shape: {sorted(wrong)[0]}",
                hint="was it trained from another --init?",
                input=where,
            )
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(tensors[name])


def make_trainable(loaded: LoadedModel, *, frozen: Sequence[str] = (), recompute: bool = False) -> TrainableModel:
    """Make a loaded fp32 model learn; the model itself is used up.

    Args:
        frozen: towers that do not learn, of ``image`` and ``text``.
        recompute: save memory by computing inner states twice.

    Raises:
        UsageError: nothing is left to learn, or the tokenizer is not CLIP's.
        ModelMismatch: the text tower reads fewer than 248 tokens and cannot be stretched.
    """
    if set(frozen) >= set(TOWERS):
        raise UsageError("both towers are frozen", hint="leave one of them to learn", input="--freeze")
    if not isinstance(loaded.tokenizer, import_open_clip().tokenizer.SimpleTokenizer):
        raise UsageError(
            f"{loaded.row.name} does not use CLIP's tokenizer",
            hint="take an OpenAI, LAION or Long-CLIP model",
            input="--init",
        )
    if loaded.context_tokens < LONG_CONTEXT_TOKENS:
        if not can_be_stretched(loaded):
            raise ModelMismatch(
                f"{loaded.row.name} reads {loaded.context_tokens} tokens and cannot be stretched",
                hint="take a causal CLIP or a Long-CLIP checkpoint",
                input="--init",
            )
        loaded = stretched(loaded)
    network = loaded.network.requires_grad_(True)
    for name, parameter in network.named_parameters():
        if name == "logit_bias" or (("image" if name.startswith("visual.") else "text") in frozen):
            parameter.requires_grad_(name == "logit_scale")
    image_learns = "image" not in frozen
    if recompute and image_learns:
        network.visual.set_grad_checkpointing(True)
    return TrainableModel(
        loaded=loaded,
        reader=TextReader.of(network, context_tokens=loaded.context_tokens, recompute=recompute),
        parameters={name: p for name, p in network.named_parameters() if p.requires_grad},
        image_learns=image_learns,
    )


def save_config(path: Path, trainee: TrainableModel) -> None:
    """Write the config that ``--model CONFIG.json@WEIGHTS`` takes."""
    write_whole(path, json.dumps(trainee.config(), indent=2).encode() + b"\n")
