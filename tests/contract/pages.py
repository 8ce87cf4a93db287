"""The pages of this repository as programs: which blocks they hold, and what the program says when those run.

A block's mark, the comment above it, says what it is:

- ``<!-- run -->``: a shell script, or Python, that is run in a copy of ``.assets/examples``, block after block of a
  page in the same folder; a ``text`` block that follows under ``<!-- output -->`` is what a terminal showed.
- ``<!-- not run: WHY -->``: its ``clipalign`` command lines are parsed all the same.
- other marks belong to the tests that read them.

    python -m tests.contract.pages        renews every output that the pages show, and the map of modules

Outputs are compared word by word. Whole numbers must be equal; numbers with a point may differ by a twentieth or by two
of their last digit, for processors round differently; versions, bars and the breaking of lines are not compared.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.contract import reference
from tests.contract.warm import PYTHON, Warm

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / ".assets" / "examples"
PAGES: Final = tuple(
    sorted(
        path.relative_to(ROOT).as_posix()
        for place in (ROOT, ROOT / "clipalign", ROOT / "completions", ROOT / "tests", ROOT / ".assets")
        for path in (place.glob("*.md") if place == ROOT else place.rglob("*.md"))
        if path.name in ("README.md", "MODEL_CARD.md", "API.md", "RECIPES.md")
    )
)
SCRIPTS: Final = frozenset({"sh", "python"})
READER: Final = "/home/you"
"""What a reader's home is called on the pages."""

_FENCED: Final = re.compile(r"(?:^<!-- (?P<mark>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
_COLOR: Final = re.compile(r"\x1b\[[\d;]*m")
_BARS: Final = re.compile("[█▌▐▒░│]+")
_VERSION: Final = re.compile(r"\d+(\.\d+){2,}\S*")
_NUMBER: Final = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: its name, from the repository's root.
        line: of the fence.
        mark: of the comment above it; empty without one.
        language: of the fence.
        code: what it holds.
        span: of ``code``, in the page's text.
    """

    page: str
    line: int
    mark: str
    language: str
    code: str
    span: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("language")) + 1,
            found["mark"] or "",
            found["language"],
            found["code"],
            found.span("code"),
        )
        for found in _FENCED.finditer(text)
    ]


def scripts_of(page: str) -> list[tuple[Block, Block | None]]:
    """The blocks that are run, each with the output that follows it, if one does."""
    blocks = blocks_of(page)
    return [
        (block, after if after is not None and after.mark == "output" else None)
        for block, after in pairwise([*blocks, None])
        if block is not None and block.mark == "run"
    ]


class Desk:
    """A copy of the examples' folder, and a terminal in it.

    Args:
        folder: an empty folder.
        warm: the program.
    """

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.place = folder / "examples"
        shutil.copytree(EXAMPLES, self.place)
        self._python = warm.bin / PYTHON
        self._home = warm.environment["HOME"]
        path = [str(warm.bin), str(Path(sys.executable).parent), os.environ["PATH"]]
        self._environment = warm.environment | {"PATH": os.pathsep.join(path)}

    def run(self, block: Block, **environment: str) -> tuple[int, str]:
        """Status, and all that a terminal of 80 columns showed."""
        import pty

        command = ["bash", "-c", block.code] if block.language == "sh" else [str(self._python), block.code]
        ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(
                command,
                cwd=self.place,
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
            )
            os.close(theirs)
            shown = b"".join(_read_all(ours))
        finally:
            os.close(ours)
        text = _COLOR.sub("", shown.decode("utf-8", "replace").replace("\r\n", "\n"))
        return process.wait(), text.replace(str(self.place), f"{READER}/examples").replace(self._home, READER)


def _read_all(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # how Linux says that nobody writes to it any more
            return
        if not piece:
            return
        yield piece


def differences(shown: str, said: str) -> list[str]:
    """What a reader would call different between what a page shows and what the program said."""
    wanted, found = _words(shown), _words(said)
    pairs = zip(wanted, found, strict=False)
    first = next((at for at, (ours, theirs) in enumerate(pairs) if not _alike(ours, theirs)), None)
    if first is None and len(wanted) == len(found):
        return []
    at = min(len(wanted), len(found)) if first is None else first
    around = slice(max(0, at - 6), at + 6)
    return [f"the page shows: … {' '.join(wanted[around])} …", f"the program says: … {' '.join(found[around])} …"]


def _words(text: str) -> list[str]:
    return _VERSION.sub("VERSION", _BARS.sub(" ", text)).split()


def _alike(shown: str, said: str) -> bool:
    if shown == said:
        return True
    if _NUMBER.sub("#", shown) != _NUMBER.sub("#", said):
        return False
    return all(_near(*pair) for pair in zip(_NUMBER.findall(shown), _NUMBER.findall(said), strict=True))


def _near(shown: str, said: str) -> bool:
    if "." not in shown and "e" not in shown:
        return shown == said
    digits = len(shown.partition("e")[0].partition(".")[2])
    scale = 10.0 ** int(shown.partition("e")[2] or 0)
    allowed = max(abs(float(shown)) / 20, 2 * 10.0**-digits * scale)
    return abs(float(shown) - float(said)) <= allowed * 1.000001


def command_lines(code: str) -> list[list[str]]:
    """The arguments of every ``clipalign`` in a shell script, or in the strings of a recipe."""
    found = []
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;()"):
                found += [_arguments(words)] if _arguments(words) is not None else []
                words = []
            else:
                words.append(word)
    return [arguments for arguments in found if arguments is not None]


def _arguments(words: Sequence[str]) -> list[str] | None:
    """Those behind the program's name, without redirections."""
    for at, word in enumerate(words):
        if word == "clipalign" or word.endswith("/clipalign"):
            rest = list(words[at + 1 :])
            kept: list[str] = []
            for before, one in pairwise(["", *rest]):
                if set(one) <= set("<>") or (before and set(before) <= set("<>")):
                    continue
                kept.append(one)
            return kept
    return None


def renew(page: str, desk: Desk) -> int:
    """Put what the program says now under every script of ``page``; returns how many outputs changed."""
    said: dict[str, str] = {}
    for script, output in scripts_of(page):
        status, shown = desk.run(script)
        if output is None and status:
            print(f"{script}: status {status}", shown, sep="\n")
        said[script.code] = shown.rstrip("\n").removeprefix("\n") + "\n"
    path, changed = ROOT / page, 0
    text = path.read_text(encoding="utf-8")
    for script, output in reversed(scripts_of(page)):  # read anew: somebody may have edited the page meanwhile
        if output is not None and script.code in said and differences(output.code, said[script.code]):
            start, end = output.span
            text = text[:start] + said[script.code] + text[end:]
            changed += 1
    path.write_text(text, encoding="utf-8")
    return changed


MAP: Final = re.compile(r"(<!-- map -->\n```text\n).*?(?=```)", re.DOTALL)
"""On the architecture page, of which ``module_map`` is the content."""


def module_map() -> str:
    """The modules of the package, a folder after its own, each with the first sentence of its docstring."""
    lines = []
    package = ROOT / "clipalign"
    for folder in (package, *sorted(path.parent for path in package.rglob("__init__.py") if path.parent != package)):
        depth = len(folder.relative_to(package).parts)
        lines.append("  " * depth + f"{folder.name}/".ljust(27 - 2 * depth) + _summary(folder / "__init__.py"))
        for path in sorted(folder.glob("*.py")):
            if path.name != "__init__.py":
                lines.append("  " * (depth + 1) + path.name.ljust(25 - 2 * depth) + _summary(path))
    return "\n".join(lines) + "\n"


def _summary(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    first = " ".join(docstring.partition("\n\n")[0].split())
    return re.split(r"[:;.] |\.$", first, maxsplit=1)[0].replace("``", "")


def renew_map() -> None:
    """Write the map of modules onto the architecture page."""
    page = ROOT / "clipalign" / "README.md"
    page.write_text(MAP.sub(lambda found: found[1] + module_map(), page.read_text(encoding="utf-8")), encoding="utf-8")


def main(pages: Sequence[str] = PAGES) -> None:
    """Renew all pages."""
    renew_map()
    reference.PAGE.write_text(reference.renewed(), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, Warm(Path(folder)) as warm:
        for number, page in enumerate(pages):
            changed = renew(page, Desk(Path(folder) / str(number), warm))
            print(f"{page}: {changed} outputs renewed")


if __name__ == "__main__":
    main(sys.argv[1:] or PAGES)
