"""The two streams: results on stdout, words to the user on stderr; when color is allowed; what may reach a terminal.

All output of commands passes here: :func:`visible` escapes control characters, in captions and file names alike. Color
follows ``NO_COLOR``, ``FORCE_COLOR`` and ``TERM``, nothing else. A reader that closes the pipe early is no error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import unicodedata
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from clipalign.errors import OutputError, unwritable

if TYPE_CHECKING:
    from rich.console import Console

JOINERS: Final = frozenset("\u200c\u200d")
"""Invisible characters in how emoji and Persian words are written."""

HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that move the cursor, reorder a line or show nothing."""

MAX_SAID: Final = 2_000

MIN_WIDTH, DEFAULT_WIDTH, MAX_WIDTH = 20, 80, 120
"""Columns: the least that layouts support, the default without a terminal, and the most used."""

ANSI: Final = {"bold": "1", "dim": "2", "red": "1;31", "yellow": "33", "cyan": "36"}

_PACKAGE: Final = Path(__file__).parent.parent


def visible(text: str) -> str:
    r"""Escape what a terminal would obey or hide, as ``\x1b`` or ``\u202e``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if _is_hidden(c) else c for c in text)


def visible_json(line: str) -> str:
    """Escape a line of JSON as :func:`visible` does, keeping its meaning."""
    import json  # only where it is needed: it costs --help a little

    return "".join("\\u007f" if c == "\x7f" else json.dumps(c)[1:-1] if _is_hidden(c) else c for c in line)


def shown_on_terminal(data: str | bytes) -> str:
    text = data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data
    return "\n".join(visible_json(line.removesuffix("\r")) for line in text.split("\n"))


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN_CATEGORIES and character not in JOINERS


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, as Python carries it in arguments and file names
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def abridged(text: str) -> str:
    """Cut the middle of a long ``text``; a hint or a cause is often at the end."""
    if len(text) <= MAX_SAID:
        return text
    begin, end = MAX_SAID * 2 // 3, MAX_SAID // 4
    return f"{text[:begin]}… ({len(text) - begin - end:,} characters left out) …{text[-end:]}"


def readable(text: str) -> str:
    return abridged(visible(text))


def color_allowed(stream: TextIO | None) -> bool:
    """Return whether escape codes may go to ``stream``; ``NO_COLOR`` wins over ``FORCE_COLOR``."""
    if stream is None or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "").lower() not in ("", "0", "false"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def styled(text: str, style: str, *, stream: TextIO | None) -> str:
    return f"\x1b[{ANSI[style]}m{text}\x1b[0m" if color_allowed(stream) else text


def width() -> int:
    """Return the columns to lay out for: ``COLUMNS``, else the terminal's, else 80; at most 120."""
    columns = shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns
    return max(MIN_WIDTH, min(columns, MAX_WIDTH))


def stdout_is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def speaks_unicode(stream: TextIO | None) -> bool:
    """Return whether ``stream`` can encode the bar and mark characters."""
    try:
        "│█▌▐‹›·…✗".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def write_output(content: str | bytes, *, is_data: bool = False) -> bool:
    """Write all of a result to stdout; return False if the reader closed the pipe.

    If ``is_data`` (JSON, JSON lines, CSV), control characters are escaped on a terminal only. Raises ``OutputError`` if
    stdout is closed or the disk is full.
    """
    stream = sys.stdout
    if stream is None:
        raise OutputError("stdout is closed, the result cannot be written", hint="redirect it to a file or /dev/null")
    if is_data and stream.isatty():
        content = shown_on_terminal(content)
    data = content.encode(stream.encoding or "utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        stream.flush()  # what print() has buffered comes first; the bytes below pass it by
        stream.buffer.write(data)
        stream.buffer.flush()
    except BrokenPipeError:
        _discard(stream)
        return False
    except OSError as error:
        _discard(stream)
        raise unwritable(error)(
            f"the result cannot be written to stdout: {error.strerror or error}",
            hint="is the disk full, or the file closed?",
        ) from error
    return True


def _discard(stream: TextIO) -> None:
    """Redirect a dead stream to the null device, so that buffered data does not fail again when Python exits."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    with contextlib.suppress(OSError, ValueError):
        stream.flush()


@dataclass(slots=True)
class Notices:
    """What the user reads besides results, a line each on stderr.

    Attributes:
        quiet: drop warnings, but not errors.
        verbose: show reasons and other libraries' warnings too.
        json: keep lines in ``waiting`` until the command succeeds; a failing one prints a single JSON object on stderr.
        kept: what Ctrl-C left behind and how to resume, for the hint of "interrupted"; empty for nothing.
    """

    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    json: bool = False
    waiting: list[str] = field(default_factory=list)
    kept: str = ""

    def warn(self, message: str) -> None:
        if not self.quiet:
            self._say(styled("warning:", "yellow", stream=sys.stderr) + " " + readable(message))

    def inform(self, message: str) -> None:
        if self.verbose and not self.quiet:
            self._say(styled(readable(message), "dim", stream=sys.stderr))

    def tell(self, message: str) -> None:
        if not self.quiet:
            self._say(readable(message))

    def _say(self, line: str) -> None:
        if self.json:
            self.waiting.append(line)
        else:
            write_stderr(line)

    def release(self) -> None:
        for line in self.waiting:
            write_stderr(line)
        self.waiting.clear()


notices = Notices()
"""The notices of this process; ``clipalign.cli`` resets them for every run."""


def write_stderr(line: str) -> None:
    """Write one line to stderr, ignoring failure."""
    stream = sys.stderr
    if stream is None:
        return
    try:
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError):
        _discard(stream)


class _NoticeLog(logging.Handler):
    """Show our own modules' warnings always, others' only with ``-v``."""

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.split(".")[0] == "clipalign"
        message = record.getMessage()
        if record.levelno >= logging.WARNING and ours:
            notices.warn(message)
        elif record.levelno >= (logging.INFO if ours else logging.WARNING):
            notices.inform(message if ours else f"{record.name}: {message}")


def listen() -> None:
    """Send ``logging`` and ``warnings`` of every library through :data:`notices`, a line each."""
    root = logging.getLogger()
    if not any(isinstance(handler, _NoticeLog) for handler in root.handlers):
        root.addHandler(_NoticeLog())
    logging.getLogger("clipalign").setLevel(logging.INFO)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        sentence = " ".join(str(message).split())
        if _PACKAGE in Path(filename).parents:
            notices.warn(sentence)
        else:
            notices.inform(f"{category.__name__} in {Path(filename).name}:{lineno}: {sentence}")

    warnings.showwarning = show


def progress_console() -> Console | None:
    """Return a Rich console on stderr for a progress bar, or None if nobody would see it."""
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console

    return Console(file=sys.stderr, no_color=not color_allowed(sys.stderr), highlight=False)
