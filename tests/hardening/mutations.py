"""How a good file is made a bad one: bytes, JSON, tables and names; the same for the same random numbers."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

ODD_NAMES: Final[tuple[str, ...]] = (
    "",
    ".",
    "..",
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "-",
    "a\nb.jpg",
    "a\0b.jpg",
    "\x1b[31mred\x1b[0m.jpg",
    "\u202egpj.exe",
    "x" * 300 + ".jpg",
    "x/" * 3000 + "y.jpg",
    "http://127.0.0.1:1/a.jpg",
    "file:///etc/passwd",
    "~/a.jpg",
    "*?[a].jpg",
    "a\\b.jpg",
    "\ud800.jpg",
    " ",
    "CON",
)
"""Where a file's name is expected."""

ODD_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64 + 1,
    10**40,
    -0.0,
    1e308,
    "",
    " ",
    "a",
    "0",
    "ORIG",
    "\n",
    "\0",
    "\x1b]0;title\x07",
    "\U0001f415",
    "e\u0301",
    "\u200f\u202e",
    "a dog " * 2000,
    [],
    {},
    [[]],
    [None],
    [{}],
    [0, 1],
    ["a", "b"],
    {"a": 1},
    {"bytes": "x", "path": "y"},
    [["a", True], ["b"]],
)
"""Where anything is expected."""

DEEP: Final = 10_000
GIANT_CHARACTERS: Final = 300_000


def mutated(random: Random, content: bytes, *, text: bool = True) -> bytes:
    """``content`` with one thing wrong; ``text`` adds what is only wrong with text."""
    kinds: tuple[Callable[[Random, bytes], bytes], ...] = (*_BYTES, *(_TEXTS if text else ()))
    return random.choice(kinds)(random, content)


def mutated_json(random: Random, document: Any, *, lines: bool = False) -> bytes:
    """A document, or a list as JSON lines, in which a value, a key or the syntax is not what it should be."""
    if random.random() < 0.15:
        return mutated(random, encoded(document, lines=lines))
    changed = copy.deepcopy(document)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        changed = _with_change(random, changed)
    content = encoded(changed, lines=lines and isinstance(changed, list))
    return random.choice(_SYNTAX)(random, content) if random.random() < 0.25 else content


def encoded(document: Any, *, lines: bool = False) -> bytes:
    """JSON as Python writes it, ``NaN`` and half characters included."""
    if lines:
        return b"".join(encoded(row) + b"\n" for row in document)
    return json.dumps(document, ensure_ascii=True).encode()


def mutated_table(random: Random, rows: list[list[str]], delimiter: str) -> bytes:
    """CSV or TSV in which columns, quotes or a field are not what they should be."""
    rows = [list(row) for row in rows]
    place = random.randrange(len(rows))
    column = random.randrange(len(rows[0]))
    change = random.randrange(12)
    if change == 0:
        for row in rows:
            del row[column]
    elif change == 1:
        rows[place].append(random.choice(("more", "", '"')))
    elif change == 2:
        rows[place] = rows[place][:column]
    elif change == 3:
        rows[0][column] = random.choice((*ODD_NAMES, rows[0][0], "Image", "caption", "id"))
    elif change == 4:
        rows[place][column] = "x" * GIANT_CHARACTERS
    elif change == 5:
        rows.insert(place, [])
    elif change == 6:
        rows = rows[:1] if random.random() < 0.5 else []
    elif change == 7:
        rows.insert(place, rows[place])
    elif change == 8:
        rows.reverse()
    else:
        rows[place][column] = str(random.choice((*ODD_NAMES, *ODD_VALUES)))
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows(rows)
    content = stream.getvalue().encode("utf-8", "surrogatepass")
    kinds = (_unquoted, _more_quotes, *_BYTES, *_TEXTS)
    return random.choice(kinds)(random, content) if random.random() < 0.4 else content


def mutated_list(random: Random, content: bytes) -> bytes:
    """A list of lines with fields between spaces or slashes, in which a line or a field is wrong."""
    lines = content.decode().splitlines()
    change = random.randrange(9)
    place = random.randrange(len(lines))
    fields = lines[place].split(" ")
    if change == 0:
        fields[random.randrange(len(fields))] = random.choice(
            (*ODD_NAMES, "-1", "0", "99999999999999999999", "1.5", "x")
        )
        lines[place] = " ".join(fields)
    elif change == 1:
        lines[place] = " ".join(fields[:-1])
    elif change == 2:
        lines[place] += random.choice((" more", " 1 2 3", "/x", "\t"))
    elif change == 3:
        lines.append(lines[place])
    elif change == 4:
        del lines[place]
    elif change == 5:
        lines[place] = random.choice(ODD_NAMES)
    elif change == 6:
        lines.reverse()
    elif change == 7:
        lines[place] = lines[place].replace(random.choice("/_. 1a"), random.choice(("", " ", "\u2028", "\x85", "/")))
    text = "".join(f"{line}\n" for line in lines)
    changed = text.encode("utf-8", "surrogatepass")
    return mutated(random, changed) if change == 8 or random.random() < 0.15 else changed


# --- bytes ------------------------------------------------------------------------------------------------------------


def _flipped(random: Random, content: bytes) -> bytes:
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if found:
            found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _holed(random: Random, content: bytes) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + content[start + random.choice((1, 2, 16, 200)) :]


def _inserted(random: Random, content: bytes) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + random.randbytes(random.choice((1, 2, 16, 200))) + content[start:]


def _zeroed(random: Random, content: bytes) -> bytes:
    start = random.randrange(len(content) + 1)
    size = min(random.choice((1, 16, 512)), len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def _repeated(random: Random, content: bytes) -> bytes:
    start, end = sorted(random.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start:end] + content[end:]


def _replaced(random: Random, content: bytes) -> bytes:
    return random.choice(
        (
            b"",
            b"\n",
            b"\0" * 64,
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            b"<!DOCTYPE html><title>404 Not Found</title>",
            gzip.compress(content, mtime=0),
            random.randbytes(256),
        )
    )


_BYTES: Final = (_flipped, _cut, _holed, _inserted, _zeroed, _repeated, _replaced)


# --- text -------------------------------------------------------------------------------------------------------------


def _other_encoding(random: Random, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    name = random.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp500", "latin-1"))
    return (f"é{text}" if name == "latin-1" else text).encode(name, "replace")


def _other_line_ends(random: Random, content: bytes) -> bytes:
    return content.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b"\x0b", b"\xe2\x80\xa8", b"\x85", b"")))


def _stray(random: Random, content: bytes) -> bytes:
    start = random.randrange(len(content) + 1)
    what = random.choice((b"\0", b"\xff", b"\xed\xa0\x80", b"\x1b[2J", b"\xef\xbb\xbf", b"\\", b'"', b"'", b",", b"\t"))
    return content[:start] + what + content[start:]


_TEXTS: Final = (_other_encoding, _other_line_ends, _stray)


def _unquoted(random: Random, content: bytes) -> bytes:
    return content.replace(b'"', b"")


def _more_quotes(random: Random, content: bytes) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + b'"' * random.choice((1, 2, 3)) + content[start:]


# --- JSON -------------------------------------------------------------------------------------------------------------


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    if isinstance(document, dict):
        for key in document:
            yield document, key
            yield from _places(document[key])
    elif isinstance(document, list):
        for index in range(len(document)):
            yield document, index
            yield from _places(document[index])


def _with_change(random: Random, document: Any) -> Any:
    """One change at a place that is drawn evenly from all; changes the document itself."""
    places = list(_places(document))
    if not places or random.random() < 0.04:
        return copy.deepcopy(random.choice(ODD_VALUES))
    holder, key = random.choice(places)
    change = random.random()
    if change < 0.15:
        del holder[key]
    elif change < 0.3 and isinstance(holder, list):
        holder.insert(random.randrange(len(holder) + 1), copy.deepcopy(random.choice((*ODD_VALUES, holder[key]))))
    elif change < 0.3:
        holder[random.choice((f"{key} ", str(key).upper(), "", "\0"))] = holder.pop(key)
    elif change < 0.4:
        other_holder, other_key = random.choice(places)
        holder[key] = copy.deepcopy(other_holder[other_key])
    elif isinstance(holder[key], str) and change < 0.65:
        holder[key] = random.choice(ODD_NAMES)
    elif isinstance(holder[key], str) and change < 0.75:
        holder[key] = holder[key] + random.choice(("", " ", "\n", "\0", "\u0301", "\ud83d", "x" * 5000))
    elif isinstance(holder[key], int | float) and change < 0.75:
        holder[key] = random.choice((float("nan"), float("inf"), -holder[key], holder[key] * 1e300, str(holder[key])))
    else:
        holder[key] = copy.deepcopy(random.choice(ODD_VALUES))
    return document


def _deep(random: Random, content: bytes) -> bytes:
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    inner = opening * DEEP + b"1" + (closing * DEEP if random.random() < 0.5 else b"")
    return random.choice(
        (inner, content.replace(b'"', inner + b'"', 1), content.replace(b": ", b": " + inner + b",", 1))
    )


def _huge_number(random: Random, content: bytes) -> bytes:
    number = random.choice((b"9" * 5000, b"1e999", b"-" + b"9" * 400, b"0." + b"1" * 5000, b"NaN", b"-Infinity"))
    start = content.find(b": ", random.randrange(len(content) + 1)) + 2
    end = min((place for place in (content.find(mark, start) for mark in (b",", b"}")) if place > 0), default=start)
    return content[:start] + number + content[end:]


def _same_key_twice(random: Random, content: bytes) -> bytes:
    start = content.find(b'"', content.find(b"{", random.randrange(len(content) + 1)))
    end = min((place for place in (content.find(mark, start) for mark in (b",", b"}")) if place > 0), default=start)
    return content[:end] + b", " + content[start:end] + content[end:]


def _trailing(random: Random, content: bytes) -> bytes:
    return content + random.choice((b",", b"]", b"}", b"[]", b"null", b"\0", b" // comment", b"\n\n" + content))


_SYNTAX: Final = (_deep, _huge_number, _same_key_twice, _trailing, _other_encoding, _stray, _cut)
