"""Benchmarks of the user's own data: ``--dataset FILE``, and ``--dataset FOLDER`` with a folder a class.

A file is what ``detect --input`` reads, with columns ``image`` and ``text`` and any of ``label`` (true or false, 1 or
0), ``wrong_words`` (a list, or words with commas between), ``wrong_span`` (first character and one past the last),
``false_text`` (a false caption beside the true one), ``group``, ``references`` and ``human`` (a rating). The columns
decide what is measured.

A file can be described in TOML beside it, to be kept and shared with the data:

    title = "captions of our shop, wrong words marked"
    file = "pairs.csv"
    license = "CC-BY-4.0"
    [columns]
    text = "caption"
    wrong_words = "errors"
    [[published]]
    metric = "la"
    value = 0.73
    backbone = "ViT-B/32"
    source = "our report, table 2"
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import orjson

from clipalign.data.readers import open_input
from clipalign.data.records import InputRecord
from clipalign.data.sources import PICTURES, is_file_name
from clipalign.data.words import Span
from clipalign.errors import ClipalignError, InputUnreadable, UnknownDataset
from clipalign.eval_results import Published
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import BrokenSample, CaptionOutcome, CaptionSample
from clipalign.evaluation.dataset_files import hashes, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.registry import OWN_COLUMNS
from clipalign.evaluation.tasks.caption_sets import CaptionSets, different_words, literal_words
from clipalign.evaluation.tasks.classes import ClassBenchmark, FoundPicture
from clipalign.files import is_file

MAX_DESCRIPTION_BYTES: Final = 100_000
_KEYS: Final = ("title", "file", "pictures", "license", "page", "columns", "published")
_TRUTHS: Final = dict.fromkeys(("1", "true", "yes"), True) | dict.fromkeys(("0", "false", "no"), False)
_CORRELATED: Final = ("cosine", "f_clip_score", "ref_clip_score")


class OwnRows(CaptionSets):
    """Rows of a file of the user's, with relative pictures in ``pictures_folder``, None for beside the file.

    ``columns`` are the file's names for its columns, where they differ.
    """

    rows_file: Path
    columns: Mapping[str, str]
    pictures_folder: Path | None
    license: str = ""
    page: str = ""
    own_published: tuple[Published, ...] = ()

    @property
    def published(self) -> tuple[Published, ...]:
        return self.own_published

    def check(self) -> None:
        named = {name: column for name, column in self.columns.items() if name not in OWN_COLUMNS}
        keep = tuple(self.columns.get(name, name) for name in OWN_COLUMNS)
        found = open_input(
            [str(self.rows_file)], image_root=self.pictures_folder, columns=named, keep=keep, needs_text=True
        )
        self._samples = [sample for record in found.records() for sample in self._samples_of_record(record)]
        self.size = len(self._samples)
        self.data = hashes(read_annotations(self.rows_file, self.name))
        about = ", ".join(filter(None, (self.license and f"license {self.license}", self.page)))
        self.notes = tuple(filter(None, (*self.explained(), about)))

    def _samples_of_record(self, record: InputRecord) -> Iterator[CaptionSample | BrokenSample]:
        values = {name: record.columns.get(self.columns.get(name, name)) for name in OWN_COLUMNS}
        try:
            if record.problem is not None:
                raise record.problem
            texts = _texts(record.text, values)
            human = _number(values["human"])
            place = _place(record)
        except ClipalignError as error:
            yield BrokenSample(record.id, record.image_name, error)
            return
        except ValueError as error:
            yield BrokenSample(record.id, record.image_name, InputUnreadable(str(error), input=str(record.place)))
            return
        for number, (text, correct, spans) in enumerate(texts):
            truth = {"item": record.id} if human is None else {"item": record.id, "human": human}
            yield CaptionSample(
                id=f"{record.id}:{number}" if len(texts) > 1 else record.id,
                image=place,
                image_name=record.image_name,
                text=text,
                correct=correct,
                part="" if values["group"] is None else str(values["group"]),
                false_spans=tuple(spans),
                references=record.references,
                truth=truth,
            )

    def explained(self) -> list[str]:
        """What the columns allow, a sentence each."""
        known = [one for one in self._samples if isinstance(one, CaptionSample)]
        false = [one for one in known if not one.correct]
        placed = sum(bool(one.false_spans) for one in false)
        items = Counter(one.truth["item"] for one in known)
        paired = sum(count > 1 for count in items.values())
        groups = len({one.part for one in known})
        said = [f"{len(known):,} texts, {len(false):,} of them false"]
        if len(known) < len(self._samples):
            said.append(f"{len(self._samples) - len(known):,} rows cannot be used")
        said.append(
            f"LA is over the {placed:,} false texts whose wrong words are known"
            if placed
            else "no LA: no wrong_words, wrong_span or false_text says which words are wrong"
        )
        both = 0 < len(false) < len(known)
        said.append("AP tells true texts from false ones" if both else "no AP: all have one label")
        if paired:
            said.append(f"pair accuracy is over {paired:,} pairs of a true and a false text")
        if groups > 1:
            said.append(f"every metric also for each of {groups} groups")
        rated = sum("human" in one.truth for one in known)
        said.append(f"correlations with {rated:,} ratings" if rated else "no correlations: there is no column human")
        if not any(one.references for one in known):
            said.append("no RefCLIPScore: there is no column references")
        return said

    def statistics(self, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
        rated = [one for one in outcomes if "human" in one.truth]
        return super().statistics(outcomes) + [one for name in _CORRELATED for one in _correlations(name, rated)]


def _correlations(name: str, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
    rows = [(one, value) for one in outcomes if (value := getattr(one.result, name)) is not None]
    human = [float(one.truth["human"]) for one, _ in rows]
    return metrics.correlations(f"_{name}", [one.id for one, _ in rows], [value for _, value in rows], human)


def _texts(text: str, values: Mapping[str, Any]) -> list[tuple[str, bool, list[Span]]]:
    """The texts of a row, whether each is true, and the characters that are false."""
    if not text.strip():
        raise ValueError("the text is empty")
    spans = _spans(text, values)
    label = _truth(values["label"])
    correct = not spans if label is None else label
    if correct and spans:
        raise ValueError("the label says true, but wrong words are named")
    found = [(text, correct, spans)]
    if values["false_text"] is not None:
        other = values["false_text"]
        if not isinstance(other, str) or not other.strip() or not correct:
            raise ValueError("false_text must be a text beside a true one")
        words = different_words(text, other)
        found.append((other, False, [(words[0].start, words[-1].end)] if words else []))
    return found


def _truth(value: object) -> bool | None:
    if value is None or value == "":
        return None
    found = _TRUTHS.get(str(value).strip().lower().removesuffix(".0"))
    if found is None:
        raise ValueError(f"the label must be true or false, 1 or 0, not {str(value)[:40]!r}")
    return found


def _number(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"human must be a number, not {str(value)[:40]!r}")
    return number


def _spans(text: str, values: Mapping[str, Any]) -> list[Span]:
    named, places = _listed(values["wrong_words"]), _listed(values["wrong_span"])
    if places:
        pairs = [places] if not isinstance(places[0], list) else places
        if not all(len(one) == 2 and all(isinstance(at, int) for at in one) for one in pairs):
            raise ValueError("wrong_span must be the first character and one past the last, or a list of such")
        if not all(0 <= start < end <= len(text) for start, end in pairs):
            raise ValueError(f"wrong_span lies outside the text of {len(text)} characters")
        return [(start, end) for start, end in pairs]
    if not named:
        return []
    found = literal_words(text, ",".join(map(str, named)))
    if not found:
        raise ValueError(f"the wrong words {', '.join(map(str, named))[:60]!r} do not stand in the text")
    return found


def _listed(value: object) -> list[Any]:
    """A list, or one written in JSON, or words with commas between."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return [value]
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, list | tuple) else []


def _place(record: InputRecord) -> Path | bytes:
    if isinstance(record.image, bytes | Path):
        return record.image
    if not isinstance(record.image, str) or not is_file_name(record.image):
        raise InputUnreadable("pictures at addresses are not read by eval", hint="save them first", input=record.id)
    places = [folder / record.image for folder in record.folders]
    return next((path for path in places if is_file(path)), places[0])


class OwnClasses(ClassBenchmark):
    """A folder of class folders; a class is named as its folder, with spaces for underscores."""

    markers = (".",)

    def _classes(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def class_names(self) -> tuple[str, ...]:
        return tuple(path.name.replace("_", " ") for path in self._classes())

    def found_pictures(self) -> Iterator[FoundPicture]:
        for label, folder in enumerate(self._classes()):
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in PICTURES and is_file(path):
                    yield FoundPicture(path.relative_to(self.folder).as_posix(), label, path)


def own_benchmark(
    path: Path, *, columns: Mapping[str, str] | None = None, pictures: Path | None = None
) -> OwnRows | OwnClasses:
    """The benchmark of a file, a description of one, or a folder of class folders.

    ``columns`` are the file's names for its columns; ``pictures`` the folder of relative pictures, None for beside the
    file.

    Raises:
        UnknownDataset: it is none of the three.
        InputUnreadable: the description is invalid.
    """
    if path.is_dir():
        made = OwnClasses(path, name=path.name or str(path.resolve().name))
        if len(made.class_names()) < 2:
            raise UnknownDataset(
                f"{path} has no folder a class",
                hint="put the pictures of each class into a folder named after it",
                input=str(path),
            )
        return made
    about: dict[str, Any] = {}
    if path.suffix == ".toml":
        about = read_description(path)
        path = path.parent / about["file"]
    return OwnRows(
        path.parent,
        name=path.name,
        rows_file=path,
        columns={**about.get("columns", {}), **(columns or {})},
        pictures_folder=pictures or (path.parent / about["pictures"] if "pictures" in about else None),
        license=about.get("license", ""),
        page=about.get("page", ""),
        own_published=tuple(Published(**one) for one in about.get("published", ())),
    )


def read_description(path: Path) -> dict[str, Any]:
    """A description in TOML, every field of its type; InputUnreadable if it is invalid or too long.

    ``file`` and ``pictures`` must be in its folder, as it may come with data of others.
    """
    try:
        if path.stat().st_size > MAX_DESCRIPTION_BYTES:
            raise ValueError(f"it is longer than {MAX_DESCRIPTION_BYTES:,} bytes")
        about = tomllib.loads(path.read_text(encoding="utf-8"))
        _check_description(about, path.parent)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputUnreadable(
            f"{path} is no description of a benchmark: {str(error).partition(chr(10))[0]}",
            hint=f"it may have {', '.join(_KEYS)}; file is needed",
            input=str(path),
        ) from error
    return about


def _check_description(about: Mapping[str, Any], folder: Path) -> None:
    unknown = sorted(set(about) - set(_KEYS))
    if unknown or "file" not in about:
        raise ValueError(f"unknown key {unknown[0]}" if unknown else "it does not say file")
    for key in ("title", "file", "pictures", "license", "page"):
        if not isinstance(about.get(key, ""), str):
            raise ValueError(f"{key} must be a text")
    for key in ("file", "pictures"):
        place = folder / about.get(key, "")  # a link that came with the data may lead anywhere
        if not place.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{key} must lie in its folder")
    columns, published = about.get("columns", {}), about.get("published", [])
    if not isinstance(columns, dict) or not all(isinstance(one, str) for one in columns.values()):
        raise ValueError("columns must be names")
    kinds = {field.name: float if field.name == "value" else str for field in fields(Published)}
    for one in published if isinstance(published, list) else [None]:
        if not isinstance(one, dict) or {key: type(value) for key, value in one.items()} != kinds:
            raise ValueError(f"every published number has {', '.join(kinds)}")
