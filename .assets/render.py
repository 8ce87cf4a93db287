"""Renews what the pages show: the examples' files, the outputs, the pictures of the terminal and of the HTML.

    .venv/bin/python .assets/render.py            all of it
    .venv/bin/python .assets/render.py pictures   the pictures alone

Pictures of the terminal (``*.svg``) are what a command prints, colors included; those of the pages (``*.png``), light
and dark, are taken by headless Chromium, where it is installed or ``CHROMIUM`` names it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO, StringIO
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import examples  # noqa: E402
from PIL import Image  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.terminal_theme import MONOKAI  # noqa: E402
from rich.text import Text  # noqa: E402

from tests.contract import pages  # noqa: E402

COLUMNS: Final = 80
TERMINALS: Final = {
    "classify": "classify images/cat.png --descriptions descriptions.json --explain --top 2",
    "score-long": "score-long images/cat.png --text-file caption.txt",
    "eval": "eval --dataset pictogram-foil --limit 200",
}
"""Picture → command line, in the folder of the examples; ``detect`` is the README's first command."""

HTML: Final = {
    "detect": ("detect --input captions.jsonl --image-root images --output page.html", "page.html", 900),
    "classify": (
        "classify images/cat.png --descriptions descriptions.json --explain --top 2 --output page.html",
        "page.html",
        560,
    ),
    "eval": (
        "eval --dataset pictogram-foil --limit 200 --output run --report html",
        "run/report.html",
        1000,
    ),
}
"""Picture → command line, the page it writes, and how many pixels of it are shown."""

PAGE_PX: Final = 860
COLORS: Final = 128
SCHEMES: Final = {"dark": 0, "light": 1}
"""What Chromium calls them."""


def readme_command() -> list[str]:
    """The arguments of ``clipalign`` in the README's first block."""
    block = re.search(r"<!-- setup -->\n```sh\n(.+?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert block is not None, "the README has no block marked setup"
    words = shlex.split(block[1])
    return words[words.index(".venv/bin/clipalign") + 1 :]


def printed(arguments: list[str], folder: Path) -> str:
    """What a command prints on a terminal with colors."""
    colors = {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **colors, "CLIPALIGN_DEVICE": "cpu"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "clipalign", *arguments, "--format", "table"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def terminal(arguments: list[str], folder: Path) -> str:
    """The same as a picture."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ clipalign {shlex.join(arguments)}\n"))
    console.print(Text.from_ansi(printed(arguments, folder)))
    picture = console.export_svg(title=f"clipalign {arguments[0]}", theme=MONOKAI)
    # The reader's own monospaced font will do: nothing is fetched to show the picture.
    return re.sub(r"@font-face\s*{.*?}", "", picture, flags=re.DOTALL)


def page_shot(browser: str, page: Path, scheme: str, height: int, folder: Path) -> Image.Image:
    """The upper part of a page as a browser shows it."""
    shot = folder / "shot.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    options += ["--disable-quic", "--no-first-run", "--disable-component-update", "--disable-sync"]
    subprocess.run(
        [
            browser,
            *options,
            f"--user-data-dir={folder / 'browser'}",
            f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
            f"--window-size={PAGE_PX},{height}",
            f"--screenshot={shot}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    with Image.open(BytesIO(shot.read_bytes())) as picture:
        return picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)


def pictures() -> None:
    """All pictures."""
    (HERE / "detect.svg").write_text(terminal(readme_command(), ROOT), encoding="utf-8")
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("there is no Chromium: the pictures of the pages stay as they are", file=sys.stderr)
    with tempfile.TemporaryDirectory() as place:
        desk = Path(place) / "examples"
        shutil.copytree(examples.FOLDER, desk)
        for name, line in TERMINALS.items():
            (HERE / f"{name}.svg").write_text(terminal(shlex.split(line), desk), encoding="utf-8")
        for name, (line, page, height) in HTML.items() if browser else ():
            (desk / "page.html").unlink(missing_ok=True)
            subprocess.run(
                [sys.executable, "-m", "clipalign", *shlex.split(line), "--quiet"],
                cwd=desk,
                env={**os.environ, "PYTHONPATH": str(ROOT), "CLIPALIGN_DEVICE": "cpu"},
                check=True,
                stdout=subprocess.DEVNULL,
            )
            for scheme in SCHEMES:
                picture = page_shot(str(browser), desk / page, scheme, height, Path(place))
                picture.save(HERE / f"{name}-{scheme}.png", optimize=True)


def main(parts: list[str]) -> None:
    """Renew ``parts``, or everything."""
    if not parts or "examples" in parts:
        examples.main()
    if not parts or "outputs" in parts:
        pages.main()
    if not parts or "pictures" in parts:
        pictures()


if __name__ == "__main__":
    main(sys.argv[1:])
