"""``sdci``: pictures of DCI with up to ten captions of growing detail, and the same with a wrong detail (SPECS).

Read from the folder that ``datasets`` saves (``state.json`` and Arrow streams), by pyarrow, a batch of rows at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from clipalign.benchmarks.annotations import read_annotations
from clipalign.benchmarks.data import find_in
from clipalign.benchmarks.growing import Growing, GrowingBenchmark
from clipalign.benchmarks.task import BrokenSample
from clipalign.errors import InputUnreadable, MissingDataset
from clipalign.extras import need
from clipalign.paths import is_file

STATE: Final = "state.json"
COLUMNS: Final = ("image", "captions", "neg_captions")


class Sdci(GrowingBenchmark):
    """The benchmark; see the module's text, and :mod:`clipalign.benchmarks.growing` for what is counted."""

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
