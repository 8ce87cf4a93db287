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

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from clipalign.data.readers import open_input
from clipalign.data.records import InputRecord
from clipalign.data.sources import PICTURES, is_file_name
from clipalign.errors import ClipalignError, InputUnreadable, MissingDataset, UnknownDataset
from clipalign.eval_results import Published
from clipalign.evaluation.benchmark import BrokenSample, CaptionSample
from clipalign.evaluation.dataset_files import hashes, read_annotations
from clipalign.evaluation.registry import OWN_COLUMNS
from clipalign.evaluation.tasks.caption_sets import CaptionSets, truth_of
from clipalign.evaluation.tasks.classes import ClassBenchmark, FoundPicture
from clipalign.files import is_file

MAX_DESCRIPTION_BYTES: Final = 100_000
_KEYS: Final = ("title", "file", "pictures", "license", "page", "columns", "published")
_RATINGS: Final = 'give --data-root FILE.jsonl with lines of {"image": …, "text": …, "human": …}'


class OwnRows(CaptionSets):
    """Rows of a file of the user's, with relative pictures in ``pictures_folder``, None for beside the file.

    ``columns`` are the file's names for its columns, where they differ.
    """

    rows_file: Path
    columns: Mapping[str, str] = {}
    pictures_folder: Path | None = None
    title: str = ""
    license: str = ""
    page: str = ""
    own_published: tuple[Published, ...] = ()

    hint: str = "name a file with a row a text"
    captions = (
        {"text": "text", "label": "label", "wrong": "wrong_words", "span": "wrong_span"},
        {"text": "false_text", "label": "@false"},
    )
    references = "references"
    human = "human"

    @property
    def published(self) -> tuple[Published, ...]:
        return self.own_published

    def read_lists(self) -> None:
        try:
            file = read_annotations(self.rows_file, self.name)
        except MissingDataset as error:
            if isinstance(error.__cause__, OSError):
                raise
            raise MissingDataset(error.message, hint=self.hint, input=error.input) from error  # no download mends it
        named = {name: column for name, column in self.columns.items() if name not in OWN_COLUMNS}
        keep = tuple(self.columns.get(name, name) for name in OWN_COLUMNS)
        found = open_input(
            [str(self.rows_file)], image_root=self.pictures_folder, columns=named, keep=keep, needs_text=True
        )
        self._samples = [sample for record in found.records() for sample in self._samples_of_record(record)]
        self.size = len(self._samples)
        self.data = hashes(file)
        about = ", ".join(filter(None, (self.title, self.license and f"license {self.license}", self.page)))
        self.notes = tuple(filter(None, (*self.explained(), about)))

    def _samples_of_record(self, record: InputRecord) -> list[CaptionSample | BrokenSample]:
        row = {name: record.columns.get(self.columns.get(name, name)) for name in OWN_COLUMNS}
        row |= {"text": record.text, "references": record.references}
        try:
            if record.problem is not None:
                raise record.problem
            if row["false_text"] is not None and truth_of(row["label"]) is False:
                raise ValueError("false_text must be a text beside a true one")
            group = "" if row["group"] is None else str(row["group"])
            return [*self.captions_of(record.id, row, _picture_of(record), record.image_name, group)]
        except ValueError as error:
            problem: ClipalignError = InputUnreadable(str(error), hint=self.hint)
        except ClipalignError as error:
            problem = error
        problem.message = f"{record.place}: {problem.message}"
        return [BrokenSample(record.id, record.image_name, problem)]

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
        if not (placed or both or rated):
            said.insert(0, "nothing to measure: say by --columns which column is label, false_text or human")
        return said


class Ratings(OwnRows):
    """``human-judgement``: rows that all have a rating; the file is ``--data-root``, or the only one in that folder."""

    name = "human-judgement"
    hint = _RATINGS

    def read_lists(self) -> None:
        files = [self.folder] if self.folder.is_file() else sorted(self.folder.glob("*.jsonl"))
        if len(files) != 1:
            reason = (
                f"{self.folder} holds {len(files)} files of ratings"
                if files
                else f"there are no ratings in {self.folder}"
            )
            raise MissingDataset(reason, hint=self.hint, input=str(self.folder))
        self.rows_file = files[0]
        super().read_lists()
        self.notes = ()

    def _samples_of_record(self, record: InputRecord) -> list[CaptionSample | BrokenSample]:
        found = super()._samples_of_record(record)
        if all(isinstance(one, BrokenSample) or "human" in one.truth for one in found):
            return found
        problem = InputUnreadable(f"{record.place}: human is missing", hint=self.hint)
        return [BrokenSample(record.id, record.image_name, problem)]


def _picture_of(record: InputRecord) -> Path | bytes:
    if isinstance(record.image, bytes | Path):
        return record.image
    if not isinstance(record.image, str) or not is_file_name(record.image):
        raise InputUnreadable("pictures at addresses are not read by eval", hint="save them first", input=record.id)
    paths = [folder / record.image for folder in record.folders]
    return next((path for path in paths if is_file(path)), paths[0])


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
    name = path.name
    if path.suffix == ".toml":
        about = read_description(path)
        path = path.parent / about["file"]
    return OwnRows(
        path.parent,
        name=name,
        title=about.get("title", ""),
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
        path = folder / about.get(key, "")  # a link that came with the data may lead anywhere
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{key} must lie in its folder")
    columns, published = about.get("columns", {}), about.get("published", [])
    if not isinstance(columns, dict) or not all(isinstance(one, str) for one in columns.values()):
        raise ValueError("columns must be names")
    kinds = {field.name: float if field.name == "value" else str for field in fields(Published)}
    for one in published if isinstance(published, list) else [None]:
        if not isinstance(one, dict) or {key: type(value) for key, value in one.items()} != kinds:
            raise ValueError(f"every published number has {', '.join(kinds)}")
