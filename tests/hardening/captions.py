"""Captions from every corner of Unicode, and from people who mean harm, through every way a text comes in and out."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from html.parser import HTMLParser
from random import Random
from typing import Any, Final

from tests.hardening.arena import TINY, TINY_LONG, Case, Check, Outcome
from tests.hardening.process import GOLDEN

LONG: Final = 100_000
"""Characters of a word or a text that is far longer than any caption."""

_PLANES: Final = (
    *((0x20, 0x7F), (0x80, 0x250), (0x250, 0x600), (0x590, 0x780), (0x900, 0xE00), (0xE00, 0x1100), (0x1100, 0x2000)),
    *((0x2000, 0x2C00), (0x2E80, 0xA000), (0xA000, 0xD7FF), (0xE000, 0xF900), (0xF900, 0x10000)),
    *((0x10000, 0x12000), (0x1D000, 0x1F000), (0x1F000, 0x20000), (0x20000, 0x30000), (0x30000, 0xE0000)),
    *((0xE0000, 0xE0200), (0xF0000, 0x100000), (0x100000, 0x110000)),
)
"""Stretches of Unicode: all planes, assigned or not, private use and the tags."""

_INJECTIONS: Final = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "</title></style></script><b>bold",
    "<!-- comment",
    "--><iframe src=javascript:alert(1)>",
    "&lt;b&gt; &amp; &#x3c;script&#x3e;",
    "]]><![CDATA[",
    "' onmouseover='alert(1)",
    "{{constructor.constructor('alert(1)')()}}",
    "${jndi:ldap://127.0.0.1/a} `rm -rf /` $(id)",
    "::warning file=a.py,line=1::injected",
    "a\n::error::injected\n::set-output name=x::y",
    "a\r\n::add-mask::secret",
    "::stop-commands::x",
    "%0A::error::injected %25 %0D",
    "##[error]injected",
    "| a | b |\n|---|---|\n[link](javascript:alert(1)) ![x](http://127.0.0.1/)",
    "=HYPERLINK(\"http://127.0.0.1\";\"a\")",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3 dogs",
    "@SUM(A1)",
    '"quotes", commas,\nand lines',
    "a;b\tc|d",
    "'; DROP TABLE captions; --",
    "[red]markup[/red] [bold link=file:///etc/passwd]x[/]",
    "{} {0} {name} %s %d %(a)s {0.__class__}",
    "\\u0041 \\x41 \\n \\",
    "C:\\new\\table",
    "../../etc/passwd",
    "nan", "NaN inf -inf", "null", "None", "true", "0", "-", "--", "--help", "-h", "@file",
)  # fmt: skip

_CONTROLS: Final = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07dog",
    "\x1b]8;;http://127.0.0.1\x1b\\link\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[H gone",
    "\x9b31m eight bits",
    "a\x07\x08\x08b",
    "a\rb dog",
    "a\x0bb\x0cc\x1cd\x85e",
    "a\u2028b\u2029c",
    "\u202egod\u202c dog",
    "\u2066a\u2069 \u200fb\u200e",
    "zero\u200bwidth\u2060join\ufeffer",
    "soft\u00adhyphen",
    "\x7f\x80\x9f",
    "tab\tdog\t\t",
)

_CLUSTERS: Final = (
    "👩‍👩‍👧‍👦 a family",
    "🏳️‍🌈🏴󠁧󠁢󠁥󠁮󠁧󠁿 flags",
    "👍🏽 thumbs",
    "1️⃣2️⃣ keys",
    "e\u0301a\u0308o\u0302",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
    "\u0301\u0302\u0303",
    "각 한글 조합",
    "क्षत्रिय नमस्ते",
    "مرحبا بالعالم 123",
    "שלום dog עולם",
    "กำลังภาษาไทยไม่มีช่องว่าง",
    "狗在桌子上。它是红色的。",
    "ﬁ ﬂ ﷺ ㎏ ½ Ⅷ",
    "İstanbul ıI ß ẞ ŉ ǰ",
    "\ufffd\ufffe\uffff\U0010ffff",
    "\U000e0001\U000e0061",
)

_NOTHING: Final = (
    "", " ", "\t\n", "\u3000", "\xa0", "\u200b", "\ufeff", ".", "...", "!?", "—", "- - -", "'", "\u0301", "\x00",
    "\x1b", "()[]{}", "\u2028", "。", "\ufe0f", "\u2800",
)  # fmt: skip

_FORMATS: Final = ("json", "json", "jsonl", "csv", "table", "html", "github")

CODES: Final = frozenset({0, 1, 2, 3})


def cases(random: Random, number: int) -> Iterator[Case]:
    """Captions, labels, descriptions, references, templates, prompts and texts in files."""
    for _ in range(number):
        kind, text = _text(random)
        yield random.choice(_WAYS)(random, kind, text)


def _text(random: Random) -> tuple[str, str]:
    kind, make = random.choice(_KINDS)
    text = make(random)
    if kind not in ("nothing to read", "far too long") and random.random() < 0.4:
        text = random.choice(
            (f"a dog {text}", f"{text} dog", f"a {text} b", f"{text}\n{text}", f"  {text}  ", f"{text}. {text}.")
        )
    return kind, text


def _planes(random: Random) -> str:
    low, high = random.choice(_PLANES)
    words = ("".join(chr(random.randrange(low, high)) for _ in range(random.randrange(1, 9))) for _ in range(4))
    return " ".join(words)


def _mixed(random: Random) -> str:
    return "".join(chr(random.randrange(low, high)) for low, high in (random.choice(_PLANES) for _ in range(30)))


def _halves(random: Random) -> str:
    """Halves of surrogate pairs, as JSON can carry them; never a whole pair, which would be a character."""
    half = chr(random.randrange(0xDC00, 0xE000))
    return random.choice((f"a {half} dog", half, f"dog{half}", f"{half} {chr(random.randrange(0xD800, 0xDC00))}"))


def _endless(random: Random) -> str:
    piece = random.choice(
        (
            "a",
            "dog ",
            "é",
            "狗",
            "e\u0301",
            "\u0301",
            "👍🏽",
            ".",
            "a.",
            "A dog. ",
            "<b>",
            "\x1b[1m",
            "'s",
            "-",
            "\n",
            "1,",
        )
    )
    return random.choice(("", "a cat ")) + piece * (LONG // len(piece))


_KINDS: Final[tuple[tuple[str, Callable[[Random], str]], ...]] = (
    ("every plane of Unicode", _planes),
    ("every plane of Unicode", _planes),
    ("every plane of Unicode", _mixed),
    ("half surrogate pairs", _halves),
    ("control characters", lambda random: random.choice(_CONTROLS)),
    ("control characters", lambda random: "".join(chr(random.randrange(0x20)) for _ in range(9)) + " dog"),
    ("clusters and scripts", lambda random: random.choice(_CLUSTERS)),
    ("clusters and scripts", lambda random: " ".join(random.sample(_CLUSTERS, 4))),
    ("injections", lambda random: random.choice(_INJECTIONS)),
    ("injections", lambda random: " ".join(random.sample(_INJECTIONS, 3))),
    ("nothing to read", lambda random: random.choice(_NOTHING)),
    ("far too long", _endless),
)  # fmt: skip


# --- ways in ----------------------------------------------------------------------------------------------------------


@cache
def _picture() -> bytes:
    return (GOLDEN / "images" / "0.png").read_bytes()


def _typed(text: str) -> str | None:
    """``text`` as an argument of a program can be: no NUL, and half characters as bytes that are no UTF-8."""
    if "\0" in text or len(text.encode("utf-8", "replace")) > 120_000:
        return None
    return "".join(chr(0xDC80 + ord(c) % 0x80) if 0xD800 <= ord(c) < 0xE000 else c for c in text)


def _in_file(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _model(random: Random) -> tuple[str, str]:
    return "--model", random.choice((*(TINY,) * 6, "pictogram"))


def _detect(random: Random, kind: str, text: str) -> Case:
    typed = _typed(text)
    if typed is None:
        return _table(random, kind, text)
    format = random.choice(_FORMATS)
    arguments = [*_model(random), "--format", format]
    if random.random() < 0.3:
        arguments += ["--on-error", "skip"]
    if random.random() < 0.2 and typed.strip():
        arguments += [f"--reference={typed}"]
    files = {"a.png": _picture()}
    return Case(
        kind, "detect", (*arguments, "--", "a.png", typed), files, statuses=CODES, check=_comes_back(format, typed)
    )


def _beside(random: Random, kind: str, text: str) -> Case:
    """As a template, or a reference."""
    typed = _typed(text)
    if typed is None:
        return _labels(random, kind, text)
    files = {"a.png": _picture(), "labels.txt": b"cat\ndog\n"}
    format = random.choice(_FORMATS)
    if random.random() < 0.3:
        arguments = ["a.png", "--labels", "labels.txt", f"--template={typed}{{}}", *_model(random), "--format", format]
        return Case(kind, "classify", tuple(arguments), files, statuses=CODES)
    option = random.choice(("--template", "--reference"))
    arguments = ["a.png", "a red dog", f"{option}={typed}", *_model(random), "--format", format]
    return Case(kind, "detect", tuple(arguments), files, statuses=CODES, check=_comes_back(format, "a red dog"))


def _table(random: Random, kind: str, text: str) -> Case:
    """In JSON lines, JSON, CSV or TSV, as a caption or as a name."""
    way = random.choice(("jsonl", "json", "csv", "tsv", "-"))
    row: dict[str, Any] = {"image": "a.png", "text": text}
    if random.random() < 0.3:
        row["id"] = text
    if random.random() < 0.2:
        row["references"] = [text, "a dog"] if way in ("jsonl", "json", "-") else json.dumps([text, "a dog"])
    if random.random() < 0.1:
        row["image"] = text
    rows = [row, {"image": "a.png", "text": "a good dog", "id": "good"}]
    if way in ("csv", "tsv"):
        stream = io.StringIO()
        writer = csv.DictWriter(stream, ["image", "text", "id", "references"], delimiter="," if way == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
        content = _in_file(stream.getvalue())
    elif way == "json":
        content = json.dumps(rows, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    else:
        content = b"".join(json.dumps(one).encode() + b"\n" for one in rows)
    command = random.choice(("detect", "detect", "score-long"))
    format = random.choice(_FORMATS)
    arguments = ("--input", "-" if way == "-" else f"in.{way}", *_model(random), "--format", format)
    check = _comes_back(format, text) if row["image"] == "a.png" else None
    files = {"a.png": _picture()} | ({} if way == "-" else {f"in.{way}": content})
    return Case(kind, command, arguments, files, content if way == "-" else b"", CODES, check=check)


def _score_long(random: Random, kind: str, text: str) -> Case:
    format = random.choice(_FORMATS)
    model = random.choice((TINY_LONG, TINY_LONG, TINY, "pictogram-long"))
    common = ("--model", model, "--format", format, "--by", random.choice(("sentence", "phrase")))
    typed = _typed(text)
    files = {"a.png": _picture(), "text.txt": _in_file(text)}
    if typed is None or random.random() < 0.5:
        stdin = random.random() < 0.3
        line = ("a.png", "--text-file", "-" if stdin else "text.txt", *common)
        return Case(kind, "score-long", line, files, files["text.txt"] if stdin else b"", CODES)
    more = ("a dog.",) if random.random() < 0.3 else ()
    check = None if more else _comes_back(format, typed)
    return Case(kind, "score-long", (*common, "--", "a.png", typed, *more), files, statuses=CODES, check=check)


def _labels(random: Random, kind: str, text: str) -> Case:
    """As names of classes, in a list or a JSON object."""
    format = random.choice(_FORMATS)
    files = {"a.png": _picture()}
    if random.random() < 0.5:
        files["labels.txt"] = b"cat\n" + _in_file(text) + b"\ndog\n"
        how: tuple[str, ...] = ("--labels", "labels.txt")
    else:
        described = random.choice(
            ({text: ["a cat"], "dog": ["a dog"]}, {"cat": [text], "dog": ["a dog", text]}, {text: [text], "dog": ["x"]})
        )
        files["described.json"] = json.dumps(described).encode()
        how = ("--descriptions", "described.json", "--crops", "3")
        how += ("--explain",) if random.random() < 0.5 else ()
    arguments = ("a.png", *how, *_model(random), "--format", format)
    return Case(kind, "classify", arguments, files, statuses=CODES)


def _folder(random: Random, kind: str, text: str) -> Case:
    """As the caption beside a picture, whose name may be odd too."""
    format = random.choice(_FORMATS)
    name = re.sub(r"[\0/]", "", text)[:40] if random.random() < 0.3 else "a"
    if not _is_name(name):
        name = "a"
    files = {f"in/{name}.png": _picture(), f"in/{name}.txt": _in_file(text)}
    command = random.choice(("detect", "detect", "score-long"))
    return Case(kind, command, ("--input", "in", *_model(random), "--format", format), files, statuses=CODES)


def _is_name(name: str) -> bool:
    try:
        return 0 < len(name.encode()) < 200 and name.strip(". ") != ""
    except UnicodeEncodeError:
        return False


_WAYS: Final[tuple[Callable[[Random, str, str], Case], ...]] = (
    *(_detect, _detect, _beside, _table, _table, _table, _score_long, _score_long, _labels, _labels, _folder),
)


# --- what must come back ----------------------------------------------------------------------------------------------


def _comes_back(format: str, text: str) -> Check:
    """A check that the caption is in the results as it was given, and that its words lie where they are said to lie."""

    def look(outcome: Outcome) -> Iterator[str]:
        if outcome.status not in (0, 1):
            return
        if format in ("json", "jsonl"):
            yield from _in_json(outcome.stdout, text, lines=format == "jsonl")
        elif format == "csv":
            yield from _in_csv(outcome.stdout, text)
        elif format == "html":
            yield from _in_page(outcome.stdout)
        elif format == "github":
            yield from _in_annotations(outcome.stdout)

    return look


def _in_json(stdout: bytes, text: str, *, lines: bool) -> Iterator[str]:
    documents = [json.loads(line) for line in stdout.splitlines()] if lines else [json.loads(stdout)]
    records = [one for document in documents for one in document.get("results", [document])]
    if not any(record.get("text") == text for record in records):
        yield f"no record has the text {text[:60]!r}"
    for record in records:
        for part in (*record.get("words", ()), *record.get("sentences", ())):
            if record["text"][part["start"] : part["end"]] != part["text"]:
                yield f"{part['text'][:40]!r} does not lie at {part['start']} to {part['end']}"
                return
        yield from _whole(record)


def _whole(record: dict[str, Any]) -> Iterator[str]:
    """Words in order, and between them nothing that is a letter or a digit."""
    place = 0
    for word in record.get("words", ()):
        if word["start"] < place:
            yield f"{word['text'][:40]!r} begins before the word before it ends"
            return
        lost = [c for c in record["text"][place : word["start"]] if c.isascii() and c.isalnum()]
        if lost:
            yield f"{''.join(lost)[:40]!r} is in no word"
            return
        place = word["end"]


def _in_csv(stdout: bytes, text: str) -> Iterator[str]:
    rows = list(csv.DictReader(io.StringIO(stdout.decode(), newline="")))
    # Texts stand in a CSV as they were given, offsets count in them: what begins with "=" gets no apostrophe.
    if not any(row.get("text") == text for row in rows):
        yield f"no row has the text {text[:60]!r}"


class _Scripts(HTMLParser):
    """The tags of a page that there may be one of, or none."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "title", "style", "iframe"):
            self.found.append(tag)


def _in_page(stdout: bytes) -> Iterator[str]:
    scripts = _Scripts()
    scripts.feed(stdout.decode())
    scripts.close()
    for tag in ("script", "title", "style", "iframe"):
        if scripts.found.count(tag) > (1 if tag != "iframe" else 0):
            yield f"the page has {scripts.found.count(tag)} times <{tag}>"


def _in_annotations(stdout: bytes) -> Iterator[str]:
    for line in stdout.decode().split("\n"):
        if line and not line.startswith(("::warning ", "::error ", "::notice ")):
            yield f"a line that is no annotation: {line[:80]!r}"
        if "injected" in line and re.match(r"::(warning|error) file=a\.py|::error::|::set-output", line):
            yield "an injected command"
