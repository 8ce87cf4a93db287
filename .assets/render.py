"""Renews the README's picture of the terminal from what the command prints now.

    .venv/bin/python .assets/render.py

The command is the one in the README's first block; its output, colours included, becomes ``detect.svg``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parent
COLUMNS = 80


def readme_command() -> list[str]:
    """The arguments of ``clipalign`` in the README's first block."""
    block = re.search(r"<!-- setup -->\n```sh\n(.+?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert block is not None, "the README has no block marked setup"
    words = shlex.split(block[1])
    return words[words.index(".venv/bin/clipalign") + 1 :]


def main() -> None:
    """Run the command and write the picture."""
    arguments = readme_command()
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "clipalign", *arguments, "--format", "table"]
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ clipalign {shlex.join(arguments)}\n"))
    console.print(Text.from_ansi(printed))
    picture = console.export_svg(title="clipalign detect", theme=MONOKAI)
    # The reader's own monospaced font will do: nothing is fetched to show the picture.
    picture = re.sub(r"@font-face\s*{.*?}", "", picture, flags=re.DOTALL)
    (HERE / "detect.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
