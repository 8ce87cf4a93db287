"""The program's first lines: ``clipalign`` and ``python -m clipalign``.

The front door is imported inside, so that Ctrl-C ends the process with a sentence from its first moment on.
"""

from __future__ import annotations

import sys


def run() -> int:
    """One command line; returns the exit status."""
    try:
        from clipalign.cli import main
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(run())
