"""Captions that grow detail by detail, each beginning also with a wrong detail after it: does the score tell? (SPECS)

``positive``: how often one more right detail raises the score; ``negative``: how often a wrong one lowers it; both per
image, then averaged; ``average``: their mean. Counted twice. As published: the last caption is left out, one whose
cosine is not positive counts as absent, which hits models of negative cosines, and an image with fewer than three left
is skipped. Corrected: every caption and every wrong detail of every image.

``sdci``: pictures of DCI with up to ten captions of growing detail, and the same with a wrong detail (SPECS).

Read from the folder that ``datasets`` saves (``state.json`` and Arrow streams), by pyarrow, a batch of rows at a time.

``pictogram-long``: generated scenes whose captions grow detail by detail, with details known to be wrong; offline.

Seeded; scenes come from a split of their own that training never draws from. Protocol as for sDCI.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from clipalign.errors import InputUnreadable, MissingDataset, need
from clipalign.evaluation import metrics as statistics
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.task import BrokenSample, PictureSource, find_in, read_annotations
from clipalign.evaluation.tasks.retrieval import LongBenchmark, LongRoute
from clipalign.files import is_file
from clipalign.pictogram.long_captions import TEST_SPLIT, make_long_sample

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel
    from clipalign.results import Provenance


FEWEST: Final = 3
"""Captions left that an image needs in the published counting."""

CHANCE: Final = 0.5

COUNTINGS: Final = (
    "positive, negative and average are counted as published: without the last caption, captions whose cosine is not "
    "positive count as absent, images with fewer than three left are skipped; _corrected counts everything"
)


@dataclass(frozen=True, slots=True)
class Growing:
    """A picture with captions of growing detail.

    Attributes:
        id: unique within the benchmark.
        image: what is shown.
        image_name: what to call it.
        captions: each begins with the one before (n).
        negatives: the first captions, each with a wrong detail after it (n or n - 1).
    """

    id: str
    image: PictureSource
    image_name: str
    captions: tuple[str, ...]
    negatives: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """Captions, then negatives."""
        return self.captions + self.negatives


@dataclass(frozen=True, slots=True)
class Grown:
    """The cosines of a picture with its captions, and with those that have a wrong detail; how many were cut."""

    id: str
    cosines: tuple[float, ...]
    negative_cosines: tuple[float, ...]
    cut: int


class Shares(NamedTuple):
    """Of one image: how often a right detail raised the score, and a wrong one lowered it; 0 to 1."""

    positive: float
    negative: float


class GrowingRoute(LongRoute[Growing, Grown]):
    """Captions and negatives in one go; what they share is encoded once."""

    def made(self, sample: Growing, image: Tensor, texts: Tensor, cut: int) -> Grown:
        """The cosines."""
        cosines = tuple((texts @ image).tolist())
        count = len(sample.captions)
        return Grown(sample.id, cosines[:count], cosines[count:], cut)

    def outcome(self, record: dict[str, Any]) -> Grown:
        """Back from the record."""
        self.remember(record)
        return read_grown(record)


def read_grown(record: dict[str, Any]) -> Grown:
    """The outcome of a record.

    Raises:
        KeyError, TypeError, ValueError: it is no such record.
    """
    cosines, negatives = (tuple(map(float, record[name])) for name in ("cosines", "negative_cosines"))
    return Grown(record["id"], cosines, negatives, record["cut"])


class GrowingBenchmark(LongBenchmark[Growing, Grown]):
    """A benchmark of growing captions."""

    notes: tuple[str, ...] = (COUNTINGS,)

    def route(self, loaded: LoadedModel, settings: Settings) -> GrowingRoute:
        """With the model's own context, unless the user has it stretched."""
        return GrowingRoute(loaded, settings)

    def statistics(self, outcomes: Sequence[Grown]) -> list[Statistic]:
        """Both countings."""
        return growing_statistics(outcomes)

    def reread(self, record: dict[str, Any], provenance: Provenance) -> Grown:
        """The outcome of a line of ``samples.jsonl``."""
        return read_grown(record)


def published_shares(outcome: Grown) -> Shares | None:
    """As SPECS' own evaluation counts; None where it skips the image."""
    rows = zip(outcome.cosines[:-1], outcome.negative_cosines, strict=False)
    kept = [(cosine, negative) for cosine, negative in rows if cosine > 0]
    if len(kept) < FEWEST:
        return None
    steps = len(kept) - 1
    positive = sum(kept[place + 1][0] > kept[place][0] for place in range(steps)) / steps
    return Shares(positive, sum(cosine > negative for cosine, negative in kept[:steps]) / steps)


def corrected_shares(outcome: Grown) -> Shares | None:
    """Every caption and every wrong detail; None where there are too few for a comparison."""
    cosines, negatives = outcome.cosines, outcome.negative_cosines
    steps = len(cosines) - 1
    if steps < 1 or not negatives:
        return None
    positive = sum(cosines[place + 1] > cosines[place] for place in range(steps)) / steps
    pairs = list(zip(cosines, negatives, strict=False))
    return Shares(positive, sum(cosine > negative for cosine, negative in pairs) / len(pairs))


def growing_statistics(outcomes: Sequence[Grown]) -> list[Statistic]:
    """Positive, negative and average, in both countings; a counting that leaves no image has no numbers."""
    found = []
    for suffix, shares_of in (("", published_shares), ("_corrected", corrected_shares)):
        counted = [(one.id, shares) for one in outcomes if (shares := shares_of(one)) is not None]
        if not counted:
            continue
        ids = [id for id, _ in counted]
        by_name = {
            "positive": [shares.positive for _, shares in counted],
            "negative": [shares.negative for _, shares in counted],
            "average": [sum(shares) / len(shares) for _, shares in counted],
        }
        found += [statistics.mean(name + suffix, ids, values, chance=CHANCE) for name, values in by_name.items()]
    return found


STATE: Final = "state.json"
COLUMNS: Final = ("image", "captions", "neg_captions")


class Sdci(GrowingBenchmark):
    """The benchmark; see the module's text, and :mod:`clipalign.evaluation.tasks.increments` for what is counted."""

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
                    hint=f"fetch it again: clipalign download {self.name}",
                    input=str(file),
                )
        self.data = {STATE: state.sha256}
        self.size = sum(_count(file) for file in self._files)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Growing | BrokenSample]:
        """Row after row."""
        for number, row in enumerate(row for file in self._files for row in _rows(file)):
            if number == limit:
                return
            yield self._sample(str(number), row)

    def _sample(self, id: str, row: dict[str, Any]) -> Growing | BrokenSample:
        image, name = self._picture(row["image"])
        captions, negatives = row["captions"], row["neg_captions"]
        texts = [captions, negatives]
        good = all(isinstance(some, list) and some and all(isinstance(one, str) for one in some) for some in texts)
        if image is None or not good:
            what = "picture" if image is None else "captions"
            return BrokenSample(id, name, InputUnreadable(f"row {id} of sDCI has no {what}", input=id))
        return Growing(id, image, name, tuple(captions), tuple(negatives))

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


def _reader(file: Path) -> Any:
    """The stream in an Arrow file, its columns checked.

    Raises:
        MissingDataset: it is none, or has other columns.
    """
    arrow = need("pyarrow", extra="parquet", what="reading sDCI")
    hint = "fetch it again: clipalign download sdci"
    try:
        reader = arrow.ipc.open_stream(arrow.memory_map(str(file)))
    except (OSError, ValueError) as error:  # pyarrow's own errors are among them
        said = str(error).partition("\n")[0]
        raise MissingDataset(f"{file} is no Arrow stream: {said}", hint=hint, input=str(file)) from error
    missing = [name for name in COLUMNS if name not in reader.schema.names]
    if missing:
        raise MissingDataset(f"{file} lacks the column {missing[0]}", hint=hint, input=str(file))
    return reader


def _batches(file: Path) -> Iterator[Any]:
    """Batches whose offsets and characters are sound; pyarrow ends the process over one of another length."""
    try:
        for batch in _reader(file):
            batch.validate(full=True)
            yield batch
    except (OSError, ValueError) as error:
        raise _torn(file, error) from error


def _count(file: Path) -> int:
    return sum(batch.num_rows for batch in _batches(file))


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    for batch in _batches(file):
        for number in range(batch.num_rows):  # row by row: pictures may stand in them
            yield {name: batch.column(name)[number].as_py() for name in COLUMNS}


def _torn(file: Path, error: Exception) -> MissingDataset:
    said = json.dumps(str(error).partition("\n")[0])
    hint = "fetch it again: clipalign download sdci"
    return MissingDataset(f"{file} breaks off: {said}", hint=hint, input=str(file))


DEFAULT_SAMPLES: Final = 1000
SCENES_A_SEED: Final = 1_000_000


class PictogramLong(GrowingBenchmark):
    """The benchmark; see the module's text."""

    name = "pictogram-long"
    size = DEFAULT_SAMPLES
    notes = ("generated pictogram scenes; says nothing about photographs", COUNTINGS)

    def __init__(self) -> None:
        super().__init__(Path())

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Growing]:
        """Scenes, ``DEFAULT_SAMPLES`` in all unless limited."""
        for number in range(DEFAULT_SAMPLES if limit is None else limit):
            place = seed * SCENES_A_SEED + number
            sample = make_long_sample(place, split=TEST_SPLIT)
            name = f"scene-{place}"
            yield Growing(name, sample.picture(), name, sample.caption.prefixes(), sample.caption.wrong_prefixes())
