"""``seetrue``: captions that do not fit, with what is wrong with them in words (SeeTRUE-Feedback, Gordon et al., 2023).

Protocol of CLIP4DM: mode ``threshold``; adjacent misaligned words make a phrase, and the phrases joined by a comma are
the prediction. Its score is the probability, by a model for natural language inference (BART trained on MultiNLI), that
it follows from what people wrote: entailment against contradiction, without neutral, 0 where nothing is predicted. The
mean is over all samples, and per source. The model is case-sensitive; ``published_nli`` lowers both texts first, as
CLIP4DM does, ``nli`` does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError

from clipalign.errors import ClipalignError, DownloadFailed, MissingDataset, MissingWeights, need
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import BrokenSample, CaptionOutcome, CaptionSample, broken
from clipalign.evaluation.dataset_files import Annotations, bad_parquet, hashes, open_parquet, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.words import ABOUT, DetectEvaluator, WordBenchmark, phrases

if TYPE_CHECKING:
    from clipalign.device import DeviceChoice
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel


NLI_MODEL: Final = "facebook/bart-large-mnli"
BATCH_PAIRS: Final = 32

_DAMAGE: Final = (SafetensorError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError)
"""Errors of reading damaged files, besides OSError."""


class Entailment:
    """The model for natural language inference, in fp32, from ``folder`` if it is there, else from the Hub's cache.

    Raises:
        MissingExtra: transformers is not installed.
        MissingWeights: the model is missing and may not be fetched, or its files are damaged.
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
            raise _unavailable(error, folder, here=here, download=download, offline=offline) from error
        labels = {str(label).lower(): int(index) for index, label in model.config.id2label.items()}
        try:
            self._labels = labels["contradiction"], labels["entailment"]
        except KeyError as error:
            raise MissingWeights(f"{name} has no label {error}: it is no model for inference", input=name) from None
        self._device = choice.device
        self._model = model.to(choice.device).eval()
        self.name = name

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Probability, 0 to 1, that the second text of each pair follows from the first."""
        import torch

        order = sorted(range(len(pairs)), key=lambda index: sum(map(len, pairs[index])))
        found = [0.0] * len(pairs)
        for begin in range(0, len(order), BATCH_PAIRS):
            indices = order[begin : begin + BATCH_PAIRS]
            texts = [pairs[index][0] for index in indices], [pairs[index][1] for index in indices]
            inputs = self._tokenizer(*texts, return_tensors="pt", padding=True, truncation="only_first")
            with torch.no_grad():
                logits = self._model(**{name: value.to(self._device) for name, value in inputs.items()}).logits
            chances = logits[:, list(self._labels)].float().softmax(dim=-1)[:, 1].tolist()
            for index, chance in zip(indices, chances, strict=True):
                found[index] = chance
        return found


def _unavailable(
    error: Exception, folder: Path | None, *, here: bool, download: bool, offline: bool
) -> MissingWeights | DownloadFailed:
    why = str(error).strip().partition("\n")[0].rstrip(" .:") or type(error).__name__
    or_put = f", or put its files into {folder}" if folder else ""
    if here:
        return MissingWeights(
            f"the model in {folder} cannot be read: {why}",
            hint=f"put the files of {NLI_MODEL} there anew, or delete the folder",
            input=str(folder),
        )
    if not isinstance(error, OSError):
        what, hint = f"in the cache of the Hub cannot be read: {why}", "delete it there and fetch it again"
    elif download:
        what, hint = f"could not be fetched: {why}", "try again"
    elif offline:
        what = "is not on this machine, and --offline (or HF_HUB_OFFLINE) forbids fetching it"
        hint = "fetch it once without --offline"
    else:
        what, hint = "is not on this machine", "add --download"
    kind = DownloadFailed if download and isinstance(error, OSError) else MissingWeights
    return kind(f"the model {NLI_MODEL} {what}", hint=hint + or_put, input=NLI_MODEL)


PATTERNS: Final = ("data/test-*.parquet", "test-*.parquet", "**/*test*.parquet")
COLUMNS: Final = ("image", "image_caption", "caption_misalignment", "dataset_source", "id_in_source_dataset")
NLI_FOLDER: Final = "bart-large-mnli"  # in the data set's folder, for machines without a network

CASES: Final = "published_nli judges both texts in lower case, as the original does; nli as they are written"

_ROWS: Final = 64  # read at a time; a row holds a picture


class SeeTrue(WordBenchmark):
    """The benchmark; see the module's text for its protocol."""

    name = "seetrue"
    notes: tuple[str, ...] = (CASES, ABOUT)
    localizes = False
    seeks_false = True

    def read_lists(self) -> None:
        shards = next(filter(None, (sorted(self.folder.glob(pattern)) for pattern in PATTERNS)), [])
        if not shards:
            there = self.folder.is_dir()
            raise MissingDataset(
                f"there is no {PATTERNS[0]} in {self.folder}" if there else f"{self.name} is not in {self.folder}",
                hint=f"clipalign download {self.name}, or --data-root DIR",
                input=str(self.folder),
            )
        self._shards = [read_annotations(shard, self.name) for shard in shards]
        self.size = sum(self._opened(shard).metadata.num_rows for shard in self._shards)
        self.data = hashes(*self._shards)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        for number, row in zip(range(self.size or 0)[:limit], self._rows(), strict=False):
            yield _sample(str(number), row)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for shard in self._shards:
            try:
                for batch in self._opened(shard).iter_batches(_ROWS, columns=list(COLUMNS), use_threads=False):
                    yield from batch.to_pylist()
            except (OSError, ValueError) as error:
                raise bad_parquet(shard.path, self.name, error) from error

    def _opened(self, shard: Annotations) -> Any:
        return open_parquet(shard.path, self.name, COLUMNS)

    def evaluator(self, loaded: LoadedModel, settings: EvalSettings) -> SeeTrueEvaluator:
        entailment = Entailment(
            loaded.choice,
            folder=self.folder / NLI_FOLDER,
            download=bool(settings.download),
            offline=settings.offline,
        )
        return SeeTrueEvaluator(loaded, settings, entailment)

    def more_statistics(self, outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
        ids = [outcome.id for outcome in outcomes]
        return [
            metrics.mean(f"{name}{suffix}", ids, [float(outcome.truth[name]) for outcome in outcomes])
            for name in ("nli", "published_nli")
        ]


class SeeTrueEvaluator(DetectEvaluator):
    def __init__(self, loaded: LoadedModel, settings: EvalSettings, entailment: Entailment) -> None:
        super().__init__(loaded, settings)
        self._entailment = entailment

    def score(self, samples: Sequence[CaptionSample]) -> list[CaptionOutcome | ClipalignError]:
        scored = super().score(samples)
        predicted = {
            outcome.id: (str(outcome.truth["feedback"]), ", ".join(phrase.text for phrase in phrases(outcome.result)))
            for outcome in scored
            if isinstance(outcome, CaptionOutcome)
        }
        said = [pair for pair in predicted.values() if pair[1]]
        judged = list(dict.fromkeys([*said, *map(_lowered, said)]))
        chances = dict(zip(judged, self._entailment.probabilities(judged), strict=True))

        def known(outcome: CaptionOutcome) -> CaptionOutcome:
            pair = predicted[outcome.id]
            nli, published = chances.get(pair, 0.0), chances.get(_lowered(pair), 0.0)
            return replace(
                outcome, truth={**outcome.truth, "prediction": pair[1], "nli": nli, "published_nli": published}
            )

        return [known(one) if isinstance(one, CaptionOutcome) else one for one in scored]

    def notes(self, outcomes: Sequence[CaptionOutcome]) -> tuple[str, ...]:
        return (f"predictions are judged by {self._entailment.name}", *super().notes(outcomes))


def _lowered(pair: tuple[str, str]) -> tuple[str, str]:
    return pair[0].strip().lower(), pair[1].strip().lower()


def _sample(id: str, row: dict[str, Any]) -> CaptionSample | BrokenSample:
    image, text, feedback = row["image"], row["image_caption"], row["caption_misalignment"]
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes) or not isinstance(text, str):
        return broken(id, "", f"row {id} has no picture or no caption")
    source = str(row["dataset_source"] or "")
    name = str((image.get("path") if isinstance(image, dict) else None) or f"row-{id}")
    truth = {"feedback": feedback or "", "source_id": str(row["id_in_source_dataset"])}
    return CaptionSample(id, content, name, text.strip(), not feedback, source, truth=truth)
