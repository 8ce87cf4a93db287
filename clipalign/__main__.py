"""The entry point of ``clipalign`` and ``python -m clipalign``.

The command line is imported inside, so that Ctrl-C ends the process with a sentence from its first moment on.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from _thread import interrupt_main
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN_SECONDS = 0.1


def run() -> int:
    """One command line; returns the exit status."""
    sys.unraisablehook = _tell_or_interrupt
    try:
        from clipalign.cli import main
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130
    return main()


def _tell_or_interrupt(ignored: UnraisableHookArgs) -> None:
    """Ctrl-C once more where Python swallowed it: in a destructor, or in a callback while modules are imported."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        threading.Thread(target=_interrupt_soon, daemon=True).start()
    else:
        sys.__unraisablehook__(ignored)


def _interrupt_soon() -> None:
    time.sleep(AGAIN_SECONDS)
    main_thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGINT)  # ends a call that waits, too
    else:
        interrupt_main()


if __name__ == "__main__":
    sys.exit(run())
