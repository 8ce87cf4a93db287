"""Classes and what is said about them: names from a list, sentences from a file.

All input is checked here, once, and an error names the file and the class.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clipalign.cache import data_folder
from clipalign.data.sources import STDIN
from clipalign.errors import MissingDataset, UsageError, name_some
from clipalign.files import read_text_bytes, read_to_end
from clipalign.plain import json_type

DESCRIBED_DATASETS: Final = ("cub", "dtd", "food101", "imagenet", "oxford_pet", "place365")
"""Data sets whose classes have published descriptions."""

PUBLISHED: Final = "wca-descriptions"
"""Name in ``clipalign download`` of the files of WCA's repository."""

WORDS: Final = "waffle-words"
"""Name in ``clipalign download`` of the words for the method waffle."""

PLACE: Final = "{}"

_NAMED: Final = 5

_OBJECT: Final = '{"cat": ["A cat has fur.", …], …}'
_LIST: Final = '["cat", "dog", …]'

_ALL: Final = 1.0
_ID: Final = r"[-+]?\d+|n\d{8}"
_NOT_LABELS: Final[tuple[tuple[str, str, float], ...]] = (
    ("a binary file", r".*[\x00-\x08].*", 0.0),
    ("a web page", r"(?i)<(!doctype|html|head|body)\b.*", 0.0),
    ("ids alone, without the names", rf"({_ID})[.,;]?", _ALL),
    ("a table of ids and names", r"(n\d{8}|class[_ ]?\d+)[\s,;:|]+\S.*|\d+\s*[,;:|\t]\s*\S.*", _ALL),
    ("a table of names and ids", r"\S.*[,;:|\t]\s*(\d+|n\d{8})", _ALL),
    ("JSON lines", r"\{.*\}|\[.*\]", _ALL),
    ("JSON or Python", r"[\[{].*|[\]})]+[,;]?|.*[\]}],?|['\"].*['\"],?|\w+\s*=\s*[\[{(].*|['\"\w]+:\s*['\"].*,", _ALL),
    ("a list with commas at the ends", r".*,", _ALL),
    ("YAML", r"[-*]\s+\S.*|---", _ALL),
    ("a table", r".*\S,\S.*", _ALL),
    ("a table", r".*\t.*", 0.0),
)
"""Other kinds of files, each recognized by the share of its lines that match; as names may match too ("7 up", "747
airplane", "tench, Tinca tinca"), all lines must.
"""

_HEADER: Final = r"(?i)names:|(id|index|class|label|name|class_?id|wnid)s?[,;\t]\s*\w+([,;\t].*)?"

Descriptions = Mapping[str, Sequence[str]]


def find_words(*folders: Path, cache_dir: Path | None) -> Path | None:
    """Return the first list of words in these folders, or where ``download`` puts one; None if there is none."""
    tops = (*folders, data_folder(WORDS, cache_dir=cache_dir))
    return next((file for top in tops for file in sorted(top.glob("waffle_words*.txt"))), None)


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes to choose from.

    Attributes:
        names: of the classes, C; empty for those of ``descriptions``, which may have more.
        descriptions: sentences (``wca``, ``cupl``) or descriptors (``clip-d``) by class, or the source of random
            characters (``waffle``).
        templates: of ``clip-e``, with ``{}`` for the name; empty for the 80 of OpenAI's CLIP.
        words: that ``waffle`` draws from.
    """

    names: tuple[str, ...] = ()
    descriptions: Descriptions | None = None
    templates: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def read_dataset(folders: Sequence[Path], name: str, *, method: str) -> Classes:
    """Read the classes of a data set and its published descriptions, as far as ``method`` needs them.

    ``folders`` may hold ``prompts/NAME/cupl.json`` and ``features/NAME/NAME.json`` (the layout of WCA's repository), or
    ``descriptions/NAME/cupl.json`` and ``classes/NAME.json``.

    Raises:
        MissingDataset: none of the folders has the file that the method needs.
        UsageError: an invalid file.
    """
    described = _published(folders, name, "cupl.json" if method in ("wca", "cupl") else "clip-d.json")
    listed = _published(folders, name, f"{name}.json")
    if described is None and (method not in ("clip", "clip-e") or listed is None):
        other = "clip-d" if _published(folders, name, "clip-d.json") else ""
        raise MissingDataset(
            f"the published descriptions of {name} for {method} are not on this machine",
            hint=f"--method {other} has them, or give --descriptions FILE.json"
            if other
            else f"clipalign download {PUBLISHED}, or give --descriptions FILE.json",
            input=name,
        )
    descriptions = read_descriptions(described) if described else None
    # A list may hold one name for several classes (Places365), and need not spell them as the descriptions do.
    names = tuple(descriptions) if descriptions else tuple(dict.fromkeys(map(spoken, _strings(listed))))
    templates = _published(folders, name, "clip-e.json") if method == "clip-e" else None
    return Classes(
        names=names,
        descriptions=None if method in ("clip", "clip-e") else descriptions,
        templates=tuple(read_lines(templates, what="templates")) if templates else (),
    )


def _published(folders: Sequence[Path], name: str, file: str) -> Path | None:
    inner = (f"prompts/{name}", f"descriptions/{name}", f"features/{name}", "classes", name, ".")
    paths = (folder / part / file for folder in folders for part in inner)
    return next((path for path in paths if path.is_file()), None)


def _strings(path: Path | None) -> list[str]:
    """Read the names of a list; the first of a class with several."""
    found = _json(path, hint=_LIST) if path else []
    rows = found if isinstance(found, list) else []
    return [str(row[0]) if isinstance(row, list) and row else str(row) for row in rows]


def spoken(name: str) -> str:
    """Return a class's name as written in a sentence: with spaces for ``_``."""
    return name.replace("_", " ").strip()


def check_names(names: Iterable[str], *, source: str = "--labels") -> None:
    """Raise ``UsageError`` for no classes, an empty name, or duplicates; ``source`` names their origin."""
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise UsageError(f"class {number} has an empty name", hint="every class needs a name", input=source)
        key = " ".join(name.split())
        if key in seen:
            raise UsageError(
                f"the class {name!r} occurs twice, as number {seen[key]} and {number}",
                hint="two classes of one name cannot be told apart; remove or rename one",
                input=source,
            )
        seen[key] = number
    if not seen:
        raise UsageError("there are no classes", hint="give at least one class name", input=source)


def read_labels(path: Path) -> list[str]:
    """Read class names from a text file, a line each, a JSON list, or the keys of a JSON object of lists.

    Raises:
        UsageError: the file cannot be read, is empty, has duplicates, or is no list of names.
    """
    if path.suffix.lower() == ".json":
        names = _json(path, hint=_LIST)
        if isinstance(names, dict) and all(isinstance(value, list) for value in names.values()):
            names = list(names)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            rows: list[object] = names if isinstance(names, list) else []
            if isinstance(names, dict) or any(isinstance(row, list | dict) for row in rows):
                raise _no_labels(path, "looks like a table of ids and names")
            raise _no_labels(path, "is not of names alone" if rows else f"is {json_type(names)}")
    else:
        names = [line.strip() for line in _read(path, hint="a file with a class a line").splitlines() if line.strip()]
        if len(names) > 1 and re.fullmatch(r"(?i)(class|label|categor(y|ie)|name)(e?s)?", names[0]):
            raise _no_labels(path, f"begins with what looks like a header, {names[0]!r}")
    below = names[1:] if names and re.fullmatch(_HEADER, names[0]) else names
    numbers = [number[0] for name in below if (number := re.findall(r"^(\d+)[.)]?\s+\S", name))]
    if len(below) > 1 and numbers in ([*map(str, range(len(below)))], [*map(str, range(1, len(below) + 1))]):
        raise _no_labels(path, "looks like a table of ids and names")
    if len(below) < len(names) and all(re.search(r"[,;\t:]", row) for row in below):
        raise _no_labels(path, "looks like a table with a header")
    if len(names) == 1 and re.search(r"[,;|\t]", names[0]):
        raise _no_labels(path, "looks like a list on one line")
    for seems, shape, share in _NOT_LABELS:
        found = sum(re.fullmatch(shape, name[:300]) is not None for name in names)
        if found and found >= share * len(names) and not _are_digits(names):
            raise _no_labels(path, f"looks like {seems}")
    check_names(names, source=str(path))
    return names


def _are_digits(names: Iterable[str]) -> bool:
    """Return whether the classes are the ten digits, not ids."""
    return set(names) == set("0123456789")


def _no_labels(path: Path, seems: str) -> UsageError:
    return UsageError(
        f"{path} must hold a list of class names, and {seems}",
        hint=f"put one name a line and nothing else, or {_LIST} in a .json file",
        input=str(path),
    )


def read_lines(path: Path, *, what: str) -> list[str]:
    """Read the nonblank lines of a text file, or strings of a JSON list; raise ``UsageError`` if there are none."""
    if path.suffix.lower() == ".json":
        found = _json(path, hint=f'["…", …], a list of {what}')
    else:
        found = _read(path).splitlines()
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError(f"{path} must hold a list of {what}", input=str(path))
    lines = [one.strip() for one in found if one.strip()]
    if not lines:
        raise UsageError(f"{path} holds no {what}", input=str(path))
    return lines


def read_descriptions(path: Path) -> dict[str, tuple[str, ...]]:
    """Read class name → sentences from a JSON object of lists; raise ``UsageError`` for an invalid file."""
    return check_descriptions(_json(path, hint=_OBJECT), source=str(path))


def check_descriptions(found: object, *, source: str) -> dict[str, tuple[str, ...]]:
    """Check descriptions in memory, as :func:`read_descriptions`; ``source`` names them in errors."""
    if not isinstance(found, Mapping):
        templates = isinstance(found, list) and all(isinstance(one, str) and PLACE in one for one in found)
        raise UsageError(
            f"{source} must hold an object of class name to list of sentences, not {json_type(found)}",
            hint="a list of templates goes to --templates" if templates else _OBJECT,
            input=source,
        )
    checked: dict[str, tuple[str, ...]] = {}
    for name, sentences in found.items():
        if not isinstance(name, str):
            raise UsageError(f"{source}: a class name must be a string, not {json_type(name)}", input=source)
        if not isinstance(sentences, list | tuple):
            raise UsageError(
                f"{source}: the descriptions of {name!r} must be a list, not {json_type(sentences)}",
                hint=_OBJECT,
                input=source,
            )
        for number, sentence in enumerate(sentences, 1):
            if not isinstance(sentence, str) or not sentence.strip():
                what = "empty" if isinstance(sentence, str) else json_type(sentence)
                raise UsageError(f"{source}: description {number} of {name!r} is {what}", input=source)
        checked[name] = tuple(sentence.strip() for sentence in sentences)
    check_names(checked, source=source)
    if all(re.fullmatch(_ID, name) for name in checked) and not _are_digits(checked):
        raise UsageError(
            f"{source} has ids for its keys, such as {next(iter(checked))!r}",
            hint="put the names of the classes in their place, for they are what is said of a picture",
            input=source,
        )
    without = [name for name, sentences in checked.items() if not sentences]
    if without:
        raise undescribed(without, source)
    return checked


def undescribed(names: Sequence[str], source: str) -> UsageError:
    named = name_some([repr(name) for name in names], most=_NAMED)
    return UsageError(
        f"{'a class has' if len(names) == 1 else f'{len(names)} classes have'} no descriptions: {named}",
        hint="add a sentence, take the class out, or use --method clip",
        input=source,
    )


def _read(path: Path, *, hint: str = "check the path") -> str:
    try:
        content = _stdin() if str(path) == STDIN else read_text_bytes(path)
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _every_other_is_nil(content[:64]):
            raise UsageError(f"{path} is UTF-16, not UTF-8", hint="save it as UTF-8", input=str(path))
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", hint="save it as UTF-8", input=str(path)) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=hint, input=str(path)) from error


def _stdin() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("standard input has no class names", hint="pipe them in, one a line", input=STDIN)
    return read_to_end(sys.stdin.buffer)


def _every_other_is_nil(content: bytes) -> bool:
    """Detect UTF-16 without a mark, in the scripts of Europe."""
    return any(half and not any(half) for half in (content[::2], content[1::2]))


def _json(path: Path, *, hint: str) -> object:
    def reject_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twin = next(name for index, name in enumerate(names) if name in names[:index])
            raise UsageError(f"{path}: the class {twin!r} occurs twice", hint="join its lists", input=str(path))
        return dict(pairs)

    try:
        found: object = json.loads(_read(path), object_pairs_hook=reject_duplicates)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path} is not valid JSON: {error.msg}, line {error.lineno}",
            hint=hint,
            input=str(path),
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise UsageError(f"{path} holds something else than lists of sentences", input=str(path)) from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply", input=str(path)) from error
    return found
