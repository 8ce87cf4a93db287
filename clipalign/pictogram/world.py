"""What can occur in a pictogram scene: kinds, drawing styles, colours, sizes, counts.

Torch-free. The tables here fix the meaning of the trained weights: a change in their order or extent calls for training
anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from PIL import Image

HERE: Final = Path(__file__).parent
STYLES: Final = ("noto", "twemoji")
SPRITE_PX: Final = 64
SHEET_COLUMNS: Final = 21
CANVAS_PX: Final = 96
"""The side at which scenes are drawn for the model; its input size."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its code point(s), its names in singular (the first is preferred) and its plural."""

    code: str
    names: tuple[str, ...]
    plural: str

    @property
    def name(self) -> str:
        """The preferred singular."""
        return self.names[0]


def _read_kinds() -> tuple[Kind, ...]:
    kinds = []
    for line in (HERE / "objects.tsv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            code, name, plural, synonyms = [*line.split("\t"), ""][:4]
            kinds.append(Kind(code, (name, *filter(None, synonyms.split(","))), plural))
    return tuple(kinds)


KINDS: Final = _read_kinds()

COLORS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (205, 45, 45),
    "orange": (245, 145, 40),
    "yellow": (245, 225, 80),
    "green": (70, 160, 75),
    "blue": (60, 105, 210),
    "purple": (130, 70, 170),
    "pink": (245, 160, 195),
    "brown": (125, 80, 50),
    "gray": (135, 138, 142),
    "black": (25, 25, 28),
    "white": (248, 248, 246),
}
"""Background colours, as 8-bit RGB; scenes vary them a little."""

SIZES: Final[dict[str, tuple[float, float]]] = {"small": (0.21, 0.25), "medium": (0.31, 0.36), "large": (0.46, 0.54)}
"""Side of an object as a share of the canvas. Captions name only small and large ones."""

SIZE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "small": ("small", "tiny", "little"),
    "large": ("large", "big", "huge"),
}
COUNT_WORDS: Final[dict[int, str]] = {2: "two", 3: "three", 4: "four"}


def sheet_path(style: str) -> Path:
    """The sprite sheet of a drawing style."""
    return HERE / f"sprites-{style}.png"


@cache
def _sheet(style: str) -> Image.Image:
    with Image.open(sheet_path(style)) as file:
        return file.convert("RGBA")


@cache
def sprite(kind: int, style: str, side_px: int) -> Image.Image:
    """The drawing of ``KINDS[kind]`` in a style, ``side_px`` pixels a side, RGBA."""
    x, y = kind % SHEET_COLUMNS * SPRITE_PX, kind // SHEET_COLUMNS * SPRITE_PX
    tile = _sheet(style).crop((x, y, x + SPRITE_PX, y + SPRITE_PX))
    return tile.resize((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=None)
