"""``richhf``: prompts of generated pictures, with the words marked that the picture does not show.

Rich-HF, Liang et al., CVPR 2024. Annotations are a TFRecord of the RichHF-18K repository. Pictures and prompts are
Pick-a-Pic's, extracted from its Parquet shards, where present, into a picture and a text file named by uid; files
that exist are kept, so that an interrupted extraction goes on. A row of a shard holds a prompt and two pictures.

Protocol of CLIP4DM: mode ``threshold`` with epsilon -1e-5. Labels are of the prompt's tokens, split at ``,.?!":;`` and
spaces, 0 for a misaligned one; a word is false if it shares a character with such a token. The original compares words
and tokens by number and spelling instead (``published_f1`` and so on): a word with a mark attached never equals its
token, and a word of several tokens shifts all numbers after it. Correlations are of the scores with people's
``misalignment_score``, higher for a better fit; AP takes misaligned prompts for the positive class.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from clipalign.errors import MissingDataset, need
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import BrokenSample, CaptionOutcome, CaptionSample, broken
from clipalign.evaluation.dataset_files import (
    PICTURE_SUFFIXES,
    bad_parquet,
    files_in,
    find_in,
    hashes,
    open_parquet,
    read_annotations,
)
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.words import ABOUT, WordBenchmark
from clipalign.files import is_file, write_whole

FILE: Final = "test.tfrecord"
PICTURES: Final = "images"
MISALIGNED: Final = "0"
AS_DEFINED: Final = (
    "published_f1, published_precision and published_recall compare words with the data set's tokens by number and "
    "spelling, as the original does, where a mark attached to a word makes a miss; f1, precision and recall by place"
)

_TOKEN: Final = re.compile(r'[^,.?!":; ]+')
SHARDS: Final = "test-*.parquet"
SIDES: Final = ("0", "1")  # two pictures compete in a row of Pick-a-Pic

_ROWS: Final = 16  # read at a time; a picture has up to a megabyte

_LENGTH: Final = struct.Struct("<Q")
_FRAME_BYTES: Final = 16  # eight of length, two checksums of four

Value = bytes | float | int


class RichHF(WordBenchmark):
    """The benchmark; see the module's text for its protocol."""

    name = "richhf"
    size = 955
    epsilon = -1e-5
    seeks_false = True

    def read_lists(self) -> None:
        file = read_annotations(find_in(self.folder, self.name, FILE, f"richhf-18k/{FILE}"), self.name)
        self._rows = list(tfrecord_rows(file.path))
        folders = ("pickapic", "pick-a-pic", "pickapic_v1/data", "data")
        self._shards = [shard for name in folders for shard in sorted((self.folder / name).glob(SHARDS))]
        self._folder = self.folder / PICTURES if self._shards else find_in(self.folder, self.name, PICTURES)
        if not self._shards and not self._pictures_here():
            raise MissingDataset(
                f"{self._folder} holds no pictures",
                hint=f"clipalign download {self.name}; each is UID.png or .jpg, its prompt UID.txt beside it",
                input=str(self._folder),
            )
        self.data = hashes(file)
        self._file_note = file.note()
        self.of_papers = not self._file_note
        self._uneven = 0

    def _pictures_here(self) -> dict[str, Path]:
        return {path.stem: path for path in files_in(self._folder) if path.suffix.lower() in PICTURE_SUFFIXES}

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        uneven = f"{self._uneven} prompts have more or fewer words than labels; what is over does not count"
        return tuple(filter(None, (AS_DEFINED, uneven if self._uneven else "", self._file_note, ABOUT)))

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        """The first call extracts what is in shards and not yet in the folder."""
        if self._shards:
            names = (row.get("filename") for row in self._rows)
            extract(self._shards, {_uid(name) for name in names if isinstance(name, bytes)}, self._folder)
        self._files = self._pictures_here()
        self._uneven = 0
        for number, row in enumerate(self._rows[:limit]):
            yield self._sample(number, row)

    def _sample(self, number: int, row: dict[str, Value]) -> CaptionSample | BrokenSample:
        filename, label, score = (
            row.get(name) for name in ("filename", "prompt_misalignment_label", "misalignment_score")
        )
        if not isinstance(filename, bytes) or not isinstance(score, float):
            return broken(f"record-{number}", "", f"record {number} of {FILE} lacks its file name or its score")
        uid = _uid(filename)
        picture = self._files.get(uid, self._folder / f"{uid}.png")
        prompt = self._folder / f"{uid}.txt"
        try:
            text = prompt.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            return broken(uid, picture.name, f"the prompt {prompt} cannot be read: {error}")
        labels = label.decode("ascii", "replace").split() if isinstance(label, bytes) else []
        tokens = [match.span() for match in _TOKEN.finditer(text)]
        self._uneven += len(labels) != len(tokens)
        misaligned = [one == MISALIGNED for one in labels]
        false = tuple(span for span, wrong in zip(tokens, misaligned, strict=False) if wrong)
        return CaptionSample(
            id=uid,
            image=picture,
            image_name=picture.name,
            text=text,
            correct=not any(misaligned),
            part="",
            false_spans=false,
            truth={"misaligned": misaligned, "misalignment_score": score},
        )

    def statistics(self, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
        found = super().statistics(outcomes)
        ids = [outcome.id for outcome in outcomes]
        human = [float(outcome.truth["misalignment_score"]) for outcome in outcomes]
        for name in ("f_clip_score", "sum_negative_attribution", "clip_score"):
            ours = [getattr(outcome.result, name) for outcome in outcomes]
            found.append(metrics.pearson(f"pearson_{name}", ids, ours, human))
            found.append(metrics.spearman(f"spearman_{name}", ids, ours, human))
        return found

    def more_statistics(self, outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
        ids, counts = [outcome.id for outcome in outcomes], [_published_counts(outcome) for outcome in outcomes]
        return list(metrics.precision_recall(ids, counts, prefix="published_"))


def _uid(filename: bytes) -> str:
    return Path(filename.decode("utf-8", "replace")).stem


def _published_counts(outcome: CaptionOutcome) -> tuple[int, int, int]:
    """Words rightly called misaligned, words called so, tokens labeled so; both match by number and spelling."""
    words, tokens = outcome.result.words, _TOKEN.findall(outcome.text)
    called = {(number, word.text.lower()) for number, word in enumerate(words) if word.misaligned}
    labeled = zip(enumerate(tokens), outcome.truth["misaligned"], strict=False)
    true = {(number, token.lower()) for (number, token), wrong in labeled if wrong}
    return len(called & true), len(called), len(true)


def tfrecord_rows(path: Path) -> Iterator[dict[str, Value]]:
    """Each record's features: name → the first of its values; a feature without any is left out.

    MissingDataset, raised during iteration, if the file breaks off or is no TFRecord; MissingExtra without its reader.
    """
    reader = need("tfrecord.reader", extra="richhf", what="reading TFRecord")
    formats = need("tfrecord.example_pb2", extra="richhf", what="reading TFRecord")
    message = need("google.protobuf.message", extra="richhf", what="reading TFRecord")
    number = 0
    try:
        _check_lengths(path)
        for content in reader.tfrecord_iterator(str(path)):
            example = formats.Example()
            example.ParseFromString(bytes(content))
            yield {name: value for name, feature in example.features.feature.items() for value in _first(feature)}
            number += 1
    except (RuntimeError, ValueError, struct.error, MemoryError, OverflowError, message.DecodeError) as error:
        raise MissingDataset(
            f"{path} is no whole TFRecord file: after {number:,} records, {str(error).rstrip('.') or 'no sense'}",
            hint="delete it and fetch it again",
            input=str(path),
        ) from error


def _check_lengths(path: Path) -> None:
    """Check that every record ends within the file: the library allocates whatever length a record claims."""
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = number = 0
        while header := file.read(_LENGTH.size):
            length = _LENGTH.unpack(header)[0] if len(header) == _LENGTH.size else size
            offset += _FRAME_BYTES + length
            if offset > size:
                raise ValueError(f"record {number:,} claims to go on behind the end of the file")
            file.seek(offset)
            number += 1


def _first(feature: Any) -> list[Value]:
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value[:1]) if kind else []


def extract(shards: Sequence[Path], wanted: set[str], folder: Path) -> None:
    """Extract the wanted uids' missing pictures and prompts from Parquet shards into ``folder``, made if needed.

    MissingDataset if a shard cannot be read, or the folder cannot be written; MissingExtra without pyarrow.
    """
    left = {uid for uid in wanted if not is_file(folder / f"{uid}.txt")}
    try:
        for shard in shards:
            if not left:
                break
            for uid, prompt, picture in _pictures(shard, left):
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(folder / f"{uid}{_ending(picture)}", picture, sync=False)
                # Last: it says that both are there.
                write_whole(folder / f"{uid}.txt", prompt.encode("utf-8", "replace"), sync=False)
                left.discard(uid)
    except OSError as error:
        raise MissingDataset(
            f"pictures cannot be taken out into {folder}: {error.strerror or error}",
            hint="free space there, or make it writable",
            input=str(folder),
        ) from error


def _pictures(shard: Path, wanted: set[str]) -> Iterator[tuple[str, str, bytes]]:
    """uid, prompt and picture of what is wanted in a shard; of other row groups only the uids are read."""
    uid_columns = [f"image_{side}_uid" for side in SIDES]
    columns = ["caption", *uid_columns, *(f"jpg_{side}" for side in SIDES)]
    file = open_parquet(shard, "richhf", columns)
    try:
        for group in range(file.num_row_groups):
            uids = file.read_row_group(group, columns=uid_columns).to_pylist()
            if not any(uid in wanted for row in uids for uid in row.values()):
                continue
            for batch in file.iter_batches(_ROWS, row_groups=[group], columns=columns, use_threads=False):
                for row in batch.to_pylist():
                    for side in SIDES:
                        uid, content = row[f"image_{side}_uid"], row[f"jpg_{side}"]
                        if uid in wanted and content and row["caption"] is not None:
                            yield str(uid), str(row["caption"]), bytes(content)
    except (OSError, ValueError, KeyError, TypeError) as error:  # OSError: what pyarrow says of damage in the middle
        raise bad_parquet(shard, "richhf", error) from error


def _ending(picture: bytes) -> str:
    return ".png" if picture.startswith(b"\x89PNG") else ".webp" if picture.startswith(b"RIFF") else ".jpg"
