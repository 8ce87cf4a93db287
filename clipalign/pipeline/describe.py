"""Classes described by a language model: asked over the network only when the user names the address, and kept.

What comes back is written as a file of class → sentences that ``--descriptions`` reads, so that the next run asks only
about classes that are new.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from clipalign.cache import write_kept
from clipalign.downloads.web import PassingError
from clipalign.errors import DownloadFailed, UsageError
from clipalign.locks import exclusive
from clipalign.paths import is_file
from clipalign.pipeline.describer import Describer, ask
from clipalign.pipeline.descriptions import read_descriptions

SAVE_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 3600.0
"""For another process that is asking the same model."""

logger = logging.getLogger(__name__)


def describe_classes(
    names: Sequence[str],
    describer: Describer,
    *,
    folder: Path,
    offline: bool = False,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, tuple[str, ...]], Path]:
    """Sentences about every class, and the file that keeps them.

    Args:
        names: of the classes; only those that the file does not have are asked about.
        describer: whom to ask.
        folder: of the file.
        offline: whether the network is forbidden.
        tell: told, in a sentence, what is about to be sent where, and once why something is asked again.
        progress: told of every class that is done.

    Raises:
        UsageError: offline, and a class is not in the file.
        Busy: another process has been asking the same model for an hour.
        DownloadFailed: the server cannot be reached, refuses, or gives no sentences. What it gave before is kept.
    """
    file = describer.file_in(folder)
    known = _kept(file)
    missing = [name for name in names if name not in known]
    if missing and offline:
        raise UsageError(
            f"--offline (or HF_HUB_OFFLINE) forbids asking {describer.host} about {_counted(missing)}",
            hint="run it without them, or give --descriptions FILE.json",
            input="--describe-with",
        )
    if missing:
        with _alone_with(file):
            known = _kept(file, again=True)
            missing = [name for name in names if name not in known]
            if missing and tell is not None:
                tell(f"asking {describer.model} at {describer.host} about {_counted(missing)}")
            if missing:
                _ask_about(missing, describer, known, file, tell, progress)
    return {name: known[name] for name in names}, file


@contextmanager
def _alone_with(file: Path) -> Iterator[None]:
    """One process asks and the others wait for its answers; where nothing can be written, nobody waits."""
    with ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(file.with_suffix(".lock"), wait_seconds=WAIT_SECONDS, remove=True))
        except OSError:
            pass  # what cannot be kept is said later
        yield


def _ask_about(
    names: Sequence[str],
    describer: Describer,
    known: dict[str, tuple[str, ...]],
    file: Path,
    tell: Callable[[str], None] | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Fill ``known``, and the file every few seconds and at the end, however it ends."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, tuple[str, ...] | Exception]] = queue.SimpleQueue()
    stop, troubled = threading.Event(), threading.Event()
    for name in names:
        waiting.put(name)

    def again(reason: str) -> None:
        if tell is not None and not troubled.is_set():
            troubled.set()  # once a run: a server that is gone is gone for every class
            tell(f"{describer.host}: {reason}; asking again")

    def work() -> None:
        while not stop.is_set():
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((name, _described(name, describer, stop, again)))
            except Exception as error:
                stop.set()  # the others finish what they have begun
                done.put((name, error))

    # Daemons: Ctrl-C does not wait for a server that never answers.
    for _ in range(min(describer.at_once, len(names))):
        threading.Thread(target=work, name="describe", daemon=True).start()
    saved = time.monotonic()
    try:
        for _ in names:
            name, outcome = done.get()
            if isinstance(outcome, Exception):
                raise outcome
            known[name] = outcome
            if progress is not None:
                progress(1)
            if time.monotonic() - saved > SAVE_SECONDS:
                _keep(known, file)
                saved = time.monotonic()
    finally:
        stop.set()
        while not done.empty():
            name, outcome = done.get()
            if not isinstance(outcome, Exception):
                known[name] = outcome
        _keep(known, file)


def _described(name: str, describer: Describer, stop: threading.Event, again: Callable[[str], None]) -> tuple[str, ...]:
    """Ask about one class, and ``again``, which is told why, where that may help."""
    reason = ""
    for attempt in range(describer.attempts):
        if attempt and stop.wait(describer.pause_seconds * 2 ** (attempt - 1)):
            break
        try:
            return ask(name, describer)
        except PassingError as error:
            reason = str(error)
            if attempt + 1 < describer.attempts:
                again(reason)
    raise DownloadFailed(
        f"{describer.model} at {describer.host} did not describe {name!r}: {reason or 'stopped'}",
        hint="try again later, what it wrote is kept; or give --descriptions FILE.json",
        input=describer.url,
    )


def _kept(file: Path, *, again: bool = False) -> dict[str, tuple[str, ...]]:
    """What the file has; a damaged one is put aside, not thrown away; where that fails is said once, not ``again``."""
    if not is_file(file):
        return {}
    try:
        return read_descriptions(file)
    except UsageError as error:
        aside = file.with_suffix(".damaged")
        try:
            file.replace(aside)
            logger.warning("%s; put aside as %s", error.message, aside)
        except OSError as refused:
            if not again:
                logger.warning("%s; it cannot be put aside: %s", error.message, refused.strerror or refused)
        return {}


def _keep(known: dict[str, tuple[str, ...]], file: Path) -> None:
    if not known:
        return
    try:
        write_kept(file, json.dumps(known, ensure_ascii=False, indent=1).encode("utf-8"))
    except OSError as error:
        logger.warning("the descriptions could not be kept in %s: %s", file.parent, error.strerror or error)


def _counted(names: Sequence[str]) -> str:
    return "1 class" if len(names) == 1 else f"{len(names)} classes"
