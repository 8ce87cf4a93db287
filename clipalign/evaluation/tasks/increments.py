"""Captions that grow detail by detail, each also with a wrong detail after it: does the score tell? (SPECS)

``positive``: share of captions whose next right detail raises the score; ``negative``: share whose wrong detail lowers
it; each averaged over images; ``average``: their mean. Computed over every caption, and as ``published_…`` by SPECS'
own script, in which a cosine that is not positive shortens the row.

``sdci`` has pictures of DCI with up to ten such captions, in the folder that ``datasets`` saves (``state.json`` and
Arrow streams), read by pyarrow a batch of rows at a time.
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
from clipalign.evaluation.benchmark import BrokenSample, broken
from clipalign.evaluation.dataset_files import find_in, hashes, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.caption_sets import rows_of
from clipalign.evaluation.tasks.long_captions import LongBenchmark, LongOutcome, LongSample
from clipalign.files import is_file

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.results import Provenance

CHANCE: Final = 0.5

COUNTINGS: Final = (
    "positive, negative and average count every caption; published_positive, … count as SPECS' script does: of an "
    "image with n + 1 positive cosines the first n differences, and no image with fewer than 3"
)


@dataclass(frozen=True, slots=True)
class IncrementOutcome(LongOutcome):
    """Cosines of a picture with its captions, and with those that have a wrong detail."""

    cosines: tuple[float, ...]
    negative_cosines: tuple[float, ...]

    @classmethod
    def of(cls, sample: LongSample, image: Tensor, texts: Tensor, *, cut: int) -> Self:
        cosines = tuple((texts @ image).tolist())
        count = len(sample.captions)
        return cls(sample.id, cosines[:count], cosines[count:], cut=cut)

    @classmethod
    def from_record(cls, record: dict[str, Any], provenance: Provenance) -> Self:
        cosines, negatives = (tuple(map(float, record[name])) for name in ("cosines", "negative_cosines"))
        return cls(record["id"], cosines, negatives, cut=record["cut"])


class Shares(NamedTuple):
    """Of one image: how often a right detail raised the score, and a wrong one lowered it; 0 to 1."""

    positive: float
    negative: float


class IncrementBenchmark(LongBenchmark[IncrementOutcome]):
    outcome_type = IncrementOutcome
    notes: tuple[str, ...] = (COUNTINGS,)

    def statistics(self, outcomes: Sequence[IncrementOutcome]) -> list[Statistic]:
        found = []
        for prefix, shares_of in (("", all_shares), ("published_", published_shares)):
            counted = [(one.id, shares) for one in outcomes if (shares := shares_of(one)) is not None]
            ids = [id for id, _ in counted]
            by_name = {
                "positive": [shares.positive for _, shares in counted],
                "negative": [shares.negative for _, shares in counted],
                "average": [sum(shares) / len(shares) for _, shares in counted],
            }
            if ids:
                found += [metrics.mean(prefix + name, ids, values, chance=CHANCE) for name, values in by_name.items()]
        return found


def all_shares(outcome: IncrementOutcome) -> Shares | None:
    """Over every caption and every wrong detail; None where there is nothing to compare."""
    cosines, negatives = outcome.cosines, outcome.negative_cosines
    if len(cosines) < 2 or not negatives:
        return None
    return Shares(_share_above(cosines[1:], cosines), _share_above(cosines, negatives))


def published_shares(outcome: IncrementOutcome) -> Shares | None:
    """As SPECS' script counts; None where it skips the image.

    ``n`` is the number of positive cosines less one, yet the first n differences of the row are taken, whatever their
    signs. The row ends where captions or wrong details do, which drops sDCI's last caption.
    """
    cosines, negatives = outcome.cosines[: len(outcome.negative_cosines)], outcome.negative_cosines
    n = sum(cosine > 0 for cosine in cosines) - 1
    if n <= 1:
        return None
    return Shares(_share_above(cosines[1 : n + 1], cosines), _share_above(cosines[:n], negatives))


def _share_above(these: Sequence[float], those: Sequence[float]) -> float:
    above = [one > other for one, other in zip(these, those, strict=False)]
    return sum(above) / len(above)


class GrowingCaptions(LongBenchmark[IncrementOutcome]):
    """Rows of a picture (``img_path``) and captions about it, each longer than the one before (``caption``).

    ``monotonicity``: the correlation of a caption's place with its cosine, averaged over images, as HiMo-CLIP's code
    has it (arXiv 2511.06653); an image whose cosines do not vary has 0. ``positive``: as for sDCI.

    Attributes:
        file: of the rows.
        pictures: folders that may hold the pictures.
    """

    outcome_type = IncrementOutcome
    file: str
    pictures: tuple[str, ...]

    def read_lists(self) -> None:
        file = read_annotations(find_in(self.folder, self.name, self.file), self.name)
        self._rows = list(rows_of(file))
        self._folder = find_in(self.folder, self.name, *self.pictures)
        self.size, self.data = len(self._rows), hashes(file)
        self.notes = tuple(filter(None, (file.note(),)))
        self.of_papers = not self.notes

    def samples(self, *, limit: int | None, seed: int) -> Iterator[LongSample | BrokenSample]:
        for key, row in self._rows[:limit]:
            if isinstance(row, dict) and isinstance(name := row.get("img_path"), str) and _is_texts(row.get("caption")):
                yield LongSample(key, self._folder / name, name, tuple(row["caption"]))
            else:
                yield broken(key, "", f"row {key} of {self.file} lacks img_path or caption")

    def statistics(self, outcomes: Sequence[IncrementOutcome]) -> list[Statistic]:
        growing = [one for one in outcomes if len(one.cosines) > 1]
        if not growing:
            return []
        ids = [one.id for one in growing]
        orders = [
            metrics.pearson("", [""] * len(one.cosines), range(len(one.cosines)), one.cosines).value()
            for one in growing
        ]
        positive = [_share_above(one.cosines[1:], one.cosines) for one in growing]
        return [
            metrics.mean("monotonicity", ids, orders, chance=0.0),
            metrics.mean("positive", ids, positive, chance=CHANCE),
        ]


STATE: Final = "state.json"
COLUMNS: Final = ("image", "captions", "neg_captions")
AGAIN: Final = "fetch it again: clipalign download sdci"


class Sdci(IncrementBenchmark):
    name = "sdci"

    def read_lists(self) -> None:
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
        found = [Path(path), *(self.folder / one for one in (path, name, f"images/{name}", f"test/{name}"))]
        return next((one for one in found if is_file(one)), found[0]), name


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _reader(file: Path) -> Any:
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
    """Batches with checked offsets and characters; wrong ones would make pyarrow end the process."""
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
