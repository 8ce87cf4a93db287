"""Captions that grow detail by detail, each also with a wrong detail after it: does the score tell? (SPECS)

``positive``: how often one more right detail raises the score; ``negative``: how often a wrong one lowers it; both per
image, then averaged; ``average``: their mean. Counted twice. As published: the last caption is left out, one whose
cosine is not positive counts as absent, which hits models of negative cosines, and an image with fewer than three left
is skipped. Corrected: every caption and every wrong detail of every image.

``sdci`` has pictures of DCI with up to ten such captions. It is read from the folder that ``datasets`` saves
(``state.json`` and Arrow streams), by pyarrow, a batch of rows at a time.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from clipalign.errors import InputUnreadable, MissingDataset, need
from clipalign.evaluation import metrics
from clipalign.evaluation.dataset_files import find_in, hashes, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.task import BrokenSample
from clipalign.evaluation.tasks.long_captions import LongBenchmark, LongOutcome, LongSample
from clipalign.files import is_file

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.results import Provenance

FEWEST: Final = 3
"""Captions left that an image needs in the published counting."""

CHANCE: Final = 0.5

COUNTINGS: Final = (
    "positive, negative and average are counted as published: without the last caption, captions whose cosine is not "
    "positive count as absent, images with fewer than three left are skipped; _corrected counts everything"
)


@dataclass(frozen=True, slots=True)
class IncrementOutcome(LongOutcome):
    """The cosines of a picture with its captions, and with those that have a wrong detail."""

    cosines: tuple[float, ...]
    negative_cosines: tuple[float, ...]

    @classmethod
    def of(cls, sample: LongSample, image: Tensor, texts: Tensor, *, cut: int) -> Self:
        """The cosines."""
        cosines = tuple((texts @ image).tolist())
        count = len(sample.captions)
        return cls(sample.id, cosines[:count], cosines[count:], cut=cut)

    @classmethod
    def from_record(cls, record: dict[str, Any], provenance: Provenance) -> Self:
        """The outcome whose :meth:`record` this is."""
        cosines, negatives = (tuple(map(float, record[name])) for name in ("cosines", "negative_cosines"))
        return cls(record["id"], cosines, negatives, cut=record["cut"])


class Shares(NamedTuple):
    """Of one image: how often a right detail raised the score, and a wrong one lowered it; 0 to 1."""

    positive: float
    negative: float


class IncrementBenchmark(LongBenchmark[IncrementOutcome]):
    """A benchmark of captions that grow."""

    outcome_type = IncrementOutcome
    notes: tuple[str, ...] = (COUNTINGS,)

    def statistics(self, outcomes: Sequence[IncrementOutcome]) -> list[Statistic]:
        """Positive, negative and average, in both countings; a counting that leaves no image has no numbers."""
        found = []
        for suffix, shares_of in (("", published_shares), ("_corrected", corrected_shares)):
            counted = [(one.id, shares) for one in outcomes if (shares := shares_of(one)) is not None]
            by_name = {
                "positive": [shares.positive for _, shares in counted],
                "negative": [shares.negative for _, shares in counted],
                "average": [sum(shares) / len(shares) for _, shares in counted],
            }
            ids = [id for id, _ in counted]
            if ids:
                found += [metrics.mean(name + suffix, ids, values, chance=CHANCE) for name, values in by_name.items()]
        return found


def published_shares(outcome: IncrementOutcome) -> Shares | None:
    """As SPECS' own evaluation counts; None where it skips the image."""
    rows = zip(outcome.cosines[:-1], outcome.negative_cosines, strict=False)
    kept = [(cosine, negative) for cosine, negative in rows if cosine > 0]
    if len(kept) < FEWEST:
        return None
    steps = len(kept) - 1
    positive = sum(kept[place + 1][0] > kept[place][0] for place in range(steps)) / steps
    return Shares(positive, sum(cosine > negative for cosine, negative in kept[:steps]) / steps)


def corrected_shares(outcome: IncrementOutcome) -> Shares | None:
    """Every caption and every wrong detail; None where there are too few for a comparison."""
    cosines, negatives = outcome.cosines, outcome.negative_cosines
    steps = len(cosines) - 1
    if steps < 1 or not negatives:
        return None
    positive = sum(cosines[place + 1] > cosines[place] for place in range(steps)) / steps
    pairs = list(zip(cosines, negatives, strict=False))
    return Shares(positive, sum(cosine > negative for cosine, negative in pairs) / len(pairs))


STATE: Final = "state.json"
COLUMNS: Final = ("image", "captions", "neg_captions")
AGAIN: Final = "fetch it again: clipalign download sdci"


class Sdci(IncrementBenchmark):
    """``sdci``, as ``datasets`` saves it."""

    name = "sdci"

    def check(self) -> None:
        """Find the state and the Arrow files it names."""
        need("pyarrow", extra="parquet", what="reading sDCI")
        state = read_annotations(
            find_in(self.folder, self.name, STATE, f"test/{STATE}", f"test/test/{STATE}"), self.name
        )
        try:
            names = [str(entry["filename"]) for entry in state.json()["_data_files"]]
        except (KeyError, TypeError) as error:
            raise state.misbuilt("what datasets saves", error) from None
        self._files = [state.path.parent / Path(name).name for name in names]
        for file in self._files:
            if not is_file(file):
                raise MissingDataset(
                    f"{state.path} names {file.name}, which is not beside it",
                    hint=AGAIN,
                    input=str(file),
                )
        self.data = hashes(state)
        self.size = sum(_count(file) for file in self._files)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[LongSample | BrokenSample]:
        """Row after row."""
        rows = (row for file in self._files for row in _rows(file))
        for number, row in enumerate(itertools.islice(rows, limit)):
            yield self._sample(str(number), row)

    def _sample(self, id: str, row: dict[str, Any]) -> LongSample | BrokenSample:
        image, name = self._picture(row["image"])
        captions, negatives = row["captions"], row["neg_captions"]
        if image is None:
            return BrokenSample(id, name, InputUnreadable(f"row {id} of sDCI has no picture", input=id))
        if not _is_texts(captions) or not _is_texts(negatives):
            return BrokenSample(id, name, InputUnreadable(f"row {id} of sDCI has no captions", input=id))
        return LongSample(id, image, name, tuple(captions), tuple(negatives))

    def _picture(self, value: Any) -> tuple[Path | bytes | None, str]:
        """The picture and its name: bytes, or a path, which may be of the machine that the file was written on."""
        content = value.get("bytes") if isinstance(value, dict) else value if isinstance(value, bytes) else None
        path = value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None
        name = Path(path).name if path else ""
        if content:
            return content, name
        if not path:
            return None, name
        places = [Path(path), *(self.folder / place for place in (path, name, f"images/{name}", f"test/{name}"))]
        return next((place for place in places if is_file(place)), places[0]), name


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _reader(file: Path) -> Any:
    """The stream in an Arrow file, its columns checked.

    Raises:
        MissingDataset: it is none, or has other columns.
    """
    arrow = need("pyarrow", extra="parquet", what="reading sDCI")
    try:
        reader = arrow.ipc.open_stream(arrow.memory_map(str(file)))
    except (OSError, ValueError) as error:  # pyarrow's own errors are among them
        reason = str(error).partition("\n")[0]
        raise MissingDataset(f"{file} is no Arrow stream: {reason}", hint=AGAIN, input=str(file)) from error
    missing = [name for name in COLUMNS if name not in reader.schema.names]
    if missing:
        raise MissingDataset(f"{file} lacks the column {missing[0]}", hint=AGAIN, input=str(file))
    return reader


def _batches(file: Path) -> Iterator[Any]:
    """Batches whose offsets and characters are sound; pyarrow ends the process over one of another length."""
    try:
        for batch in _reader(file):
            batch.validate(full=True)
            yield batch
    except (OSError, ValueError) as error:
        reason = json.dumps(str(error).partition("\n")[0])
        raise MissingDataset(f"{file} breaks off: {reason}", hint=AGAIN, input=str(file)) from error


def _count(file: Path) -> int:
    return sum(batch.num_rows for batch in _batches(file))


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    for batch in _batches(file):
        for number in range(batch.num_rows):  # row by row: pictures may stand in them
            yield {name: batch.column(name)[number].as_py() for name in COLUMNS}
