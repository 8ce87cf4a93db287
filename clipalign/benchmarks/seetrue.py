"""``seetrue``: captions that do not fit, with what is wrong with them in words (SeeTRUE-Feedback, Gordon et al., 2023).

Protocol of CLIP4DM: mode ``threshold``; misaligned words that follow each other make a phrase, the phrases joined by a
comma are the prediction. Its score is how probable a model for natural language inference finds it that the prediction
follows from what people wrote, 0 where nothing is predicted; the mean is over all samples, and per source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.benchmarks import statistics
from clipalign.benchmarks.annotations import Annotations, read_annotations
from clipalign.benchmarks.detect_route import DetectRoute
from clipalign.benchmarks.entailment import Entailment
from clipalign.benchmarks.statistics import Statistic
from clipalign.benchmarks.task import BrokenSample, Outcome, Sample
from clipalign.benchmarks.words import ABOUT, WordBenchmark, broken, hashes, parts_of, phrases, precisions, suffix_of
from clipalign.errors import ClipalignError, MissingDataset
from clipalign.extras import need

if TYPE_CHECKING:
    from clipalign.pipeline.loaded import LoadedModel
    from clipalign.settings import Settings

PATTERNS: Final = (
    "data/test-*.parquet",
    "test-*.parquet",
    "data/*test*.parquet",
    "*test*.parquet",
    "**/*test*.parquet",
)
COLUMNS: Final = ("image", "image_caption", "caption_misalignment", "dataset_source", "id_in_source_dataset")
NLI_FOLDER: Final = "bart-large-mnli"
"""In the data set's folder, for machines without a network."""

_ROWS: Final = 64
"""Read at a time; pictures stand in them."""


class SeeTrue(WordBenchmark):
    """The benchmark; see the module's text for its protocol."""

    name = "seetrue"
    notes: tuple[str, ...] = (ABOUT,)

    def check(self) -> None:
        """Find the shards and look at their columns."""
        shards: list[Path] = []
        for pattern in PATTERNS:
            shards = shards or sorted(self.folder.glob(pattern))
        if not shards:
            there = self.folder.is_dir()
            raise MissingDataset(
                f"there is no {PATTERNS[0]} in {self.folder}" if there else f"{self.name} is not in {self.folder}",
                hint=f"clipalign download {self.name}, or --data-root DIR",
                input=str(self.folder),
            )
        self._shards = [read_annotations(shard, self.name) for shard in shards]
        self.size = sum(_opened(shard).metadata.num_rows for shard in self._shards)
        self.data = hashes(*self._shards)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Sample | BrokenSample]:
        """Shard after shard, row after row."""
        for number, row in zip(range(self.size or 0)[:limit], self._rows(), strict=False):
            yield _sample(str(number), row)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for shard in self._shards:
            try:
                for batch in _opened(shard).iter_batches(_ROWS, columns=list(COLUMNS), use_threads=False):
                    yield from batch.to_pylist()
            except (OSError, ValueError) as error:
                raise shard.unusable(f"cannot be read on: {_sentence(error)}") from error

    def route(self, loaded: LoadedModel, settings: Settings) -> SeeTrueRoute:
        """``detect`` in mode ``threshold``, unless the user chose another, and the model for inference."""
        return SeeTrueRoute(
            loaded,
            settings,
            Entailment(
                loaded.choice,
                folder=self.folder / NLI_FOLDER,
                download=bool(settings.download),
                offline=settings.offline,
            ),
        )

    def statistics(self, outcomes: Sequence[Outcome]) -> list[Statistic]:
        """The mean of the inference model's scores, in all and per source; AP where some captions are correct."""
        found = [_entailed("nli", outcomes)]
        for part in parts_of(outcomes):
            found.append(_entailed(f"nli{suffix_of(part)}", [o for o in outcomes if o.part == part]))
        return found + precisions(outcomes, misaligned=True)


class SeeTrueRoute(DetectRoute):
    """``detect``, and what the model for inference makes of its words.

    Args:
        loaded: the model.
        settings: of the run.
        entailment: the model for inference.
    """

    def __init__(self, loaded: LoadedModel, settings: Settings, entailment: Entailment) -> None:
        super().__init__(loaded, settings)
        self._entailment = entailment

    def score(self, samples: Sequence[Sample]) -> list[Outcome | ClipalignError]:
        """The outcomes of ``detect`` with ``prediction`` and ``nli`` added to what is known of each."""
        scored = super().score(samples)
        predicted = {
            place: (str(outcome.truth["feedback"]), ", ".join(phrase.text for phrase in found))
            for place, outcome in enumerate(scored)
            if isinstance(outcome, Outcome) and (found := phrases(outcome.result))
        }
        chances = dict(zip(predicted, self._entailment.probabilities(list(predicted.values())), strict=True))
        return [
            replace(
                outcome,
                truth={
                    **outcome.truth,
                    "prediction": predicted[place][1] if place in predicted else "",
                    "nli": chances.get(place, 0.0),
                },
            )
            if isinstance(outcome, Outcome)
            else outcome
            for place, outcome in enumerate(scored)
        ]

    def notes(self) -> tuple[str, ...]:
        """By which model the predictions were judged."""
        return (*super().notes(), f"predictions are judged by {self._entailment.name}")


def _entailed(name: str, outcomes: Sequence[Outcome]) -> Statistic:
    return statistics.mean(name, [o.id for o in outcomes], [float(o.truth["nli"]) for o in outcomes])


def _sample(id: str, row: dict[str, Any]) -> Sample | BrokenSample:
    image, text, feedback = row["image"], row["image_caption"], row["caption_misalignment"]
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes) or not isinstance(text, str):
        return broken(id, "", f"row {id} has no picture or no caption")
    source = str(row["dataset_source"] or "")
    name = str((image.get("path") if isinstance(image, dict) else None) or f"row-{id}")
    truth = {"feedback": feedback or "", "source_id": str(row["id_in_source_dataset"])}
    return Sample(id, content, name, text.strip(), not feedback, source, truth=truth)


def _opened(shard: Annotations) -> Any:
    """The Parquet file.

    Raises:
        MissingExtra: pyarrow is not installed.
        MissingDataset: it is no Parquet file, or has other columns.
    """
    parquet = need("pyarrow.parquet", extra="parquet", what="reading Parquet")
    try:
        file = parquet.ParquetFile(shard.path)
    except (OSError, ValueError) as error:
        raise shard.unusable(f"is no Parquet file: {_sentence(error)}") from error
    lacking = [name for name in COLUMNS if name not in file.schema_arrow.names]
    if lacking:
        raise shard.unusable(f"has no column {', '.join(lacking)}")
    return file


def _sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
