"""Whether one text follows from another, by a model for natural language inference.

The premise is what people said, the hypothesis what was predicted; the score is the probability of entailment against
contradiction, neutral left out. The model is BART trained on MultiNLI, as in the papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError

from clipalign.errors import DownloadFailed, MissingWeights
from clipalign.extras import need

if TYPE_CHECKING:
    from clipalign.device import DeviceChoice

NLI_MODEL: Final = "facebook/bart-large-mnli"
BATCH_PAIRS: Final = 32

_DAMAGE: Final = (SafetensorError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError)
"""What reading damaged files ends with, besides OSError."""


class Entailment:
    """The model, ready.

    Args:
        choice: the device it runs on; fp32 whatever the precision of the rest.
        folder: where its files may lie, before the cache of the Hub is looked in.
        download: whether it may be fetched.
        offline: whether the network is forbidden.

    Raises:
        MissingExtra: transformers is not installed.
        MissingWeights: the model is not on this machine and may not be fetched, or its files are damaged.
        DownloadFailed: it could not be fetched.
    """

    def __init__(
        self, choice: DeviceChoice, *, folder: Path | None = None, download: bool = False, offline: bool = False
    ) -> None:
        transformers = need("transformers", extra="nli", what="natural language inference")
        here = folder is not None and (folder / "config.json").is_file()
        name = str(folder) if here else NLI_MODEL
        download = download and not offline
        options: dict[str, Any] = {"local_files_only": here or not download, "trust_remote_code": False}
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(name, **options)
            model = transformers.AutoModelForSequenceClassification.from_pretrained(
                name, use_safetensors=True, **options
            )
        except (OSError, *_DAMAGE) as error:
            why = str(error).strip().partition("\n")[0].rstrip(" .:") or type(error).__name__
            or_put = f", or put its files into {folder}" if folder else ""
            if here:
                raise MissingWeights(
                    f"the model in {folder} cannot be read: {why}",
                    hint=f"put the files of {NLI_MODEL} there anew, or delete the folder",
                    input=str(folder),
                ) from error
            if not isinstance(error, OSError):
                raise MissingWeights(
                    f"the model {NLI_MODEL} in the cache of the Hub cannot be read: {why}",
                    hint=f"delete it there and fetch it again{or_put}",
                    input=NLI_MODEL,
                ) from error
            if download:
                raise DownloadFailed(
                    f"the model {NLI_MODEL} could not be fetched: {why}",
                    hint=f"try again{or_put}",
                    input=NLI_MODEL,
                ) from error
            forbidden = ", and --offline (or HF_HUB_OFFLINE) forbids fetching it" if offline else ""
            raise MissingWeights(
                f"the model {NLI_MODEL} is not on this machine{forbidden}",
                hint=("fetch it once without --offline" if offline else "add --download") + or_put,
                input=NLI_MODEL,
            ) from error
        labels = {str(label).lower(): int(place) for place, label in model.config.id2label.items()}
        try:
            self._places = labels["contradiction"], labels["entailment"]
        except KeyError as error:
            raise MissingWeights(f"{name} has no label {error}: it is no model for inference", input=name) from None
        self._device = choice.device
        self._model = model.to(choice.device).eval()
        self.name = name

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Of each pair of premise and hypothesis, how probable it is that the second follows from the first, 0 to 1."""
        import torch

        order = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))
        found = [0.0] * len(pairs)
        for begin in range(0, len(order), BATCH_PAIRS):
            places = order[begin : begin + BATCH_PAIRS]
            texts = [pairs[place][0] for place in places], [pairs[place][1] for place in places]
            inputs = self._tokenizer(*texts, return_tensors="pt", padding=True, truncation="only_first")
            with torch.no_grad():
                logits = self._model(**{name: value.to(self._device) for name, value in inputs.items()}).logits
            chances = logits[:, list(self._places)].float().softmax(dim=-1)[:, 1].tolist()
            for place, chance in zip(places, chances, strict=True):
                found[place] = chance
        return found
