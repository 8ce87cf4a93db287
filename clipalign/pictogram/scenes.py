"""Pictogram scenes: what can occur in one, how one is composed, and how it is drawn. Torch-free.

The tables fix the meaning of the trained weights: changing their order or size requires new training. Everything else
follows from one seeded ``random.Random``, the same on every machine. Coordinates are shares of the canvas, origin top
left.
"""

from __future__ import annotations

import random
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
DRAWN_PX: Final = (CANVAS_PX, 2 * CANVAS_PX, 3 * CANVAS_PX)
DRAWN_WEIGHTS: Final = (6, 1, 1)
"""Sides at which scenes are drawn: mostly the model's size, some larger and scaled down, as users' pictures are."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its code point(s), its names in singular (the first is preferred) and its plural."""

    code: str
    names: tuple[str, ...]
    plural: str

    @property
    def name(self) -> str:
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
"""Background colors, as 8-bit RGB; scenes vary them a little."""

SIZES: Final[dict[str, tuple[float, float]]] = {"small": (0.21, 0.25), "medium": (0.31, 0.36), "large": (0.46, 0.54)}
"""Side of an object as a share of the canvas. Captions name only small and large ones."""

SIZE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "small": ("small", "tiny", "little"),
    "large": ("large", "big", "huge"),
}
COUNT_WORDS: Final[dict[int, str]] = {2: "two", 3: "three", 4: "four"}


def sheet_path(style: str) -> Path:
    return HERE / f"sprites-{style}.png"


@cache
def _sheet(style: str) -> Image.Image:
    with Image.open(sheet_path(style)) as file:
        sheet: Image.Image = file.convert("RGBA")
    return sheet


@cache
def sprite(kind: int, style: str, side_px: int) -> Image.Image:
    """Return the RGBA drawing of ``KINDS[kind]`` in a style."""
    x, y = kind % SHEET_COLUMNS * SPRITE_PX, kind // SHEET_COLUMNS * SPRITE_PX
    tile = _sheet(style).crop((x, y, x + SPRITE_PX, y + SPRITE_PX))
    return tile.resize((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=None)


PLACING_ATTEMPTS: Final = 40
COLOR_JITTER: Final = 10


@dataclass(frozen=True, slots=True)
class Thing:
    """One drawn object: center and side as shares of the canvas."""

    kind: int
    style: str
    x: float
    y: float
    side: float


@dataclass(frozen=True, slots=True)
class Group:
    kind: int
    size: str
    things: tuple[Thing, ...]

    @property
    def count(self) -> int:
        return len(self.things)


@dataclass(frozen=True, slots=True)
class Scene:
    color: str
    rgb: tuple[int, int, int]
    groups: tuple[Group, ...]

    @property
    def kinds(self) -> frozenset[int]:
        return frozenset(group.kind for group in self.groups)

    @property
    def things(self) -> tuple[Thing, ...]:
        return tuple(thing for group in self.groups for thing in group.things)


def scene_random(split: str, number: int) -> random.Random:
    """Return the random generator of one scene; each ``split`` has its own scenes."""
    return random.Random(f"pictogram:{split}:{number}")


def compose_scene(rng: random.Random) -> Scene:
    """Compose a random scene of one to three groups, at most six things, without overlap."""
    color = rng.choice(tuple(COLORS))
    red, green, blue = (min(255, max(0, c + rng.randint(-COLOR_JITTER, COLOR_JITTER))) for c in COLORS[color])
    style = rng.choice((*STYLES, None))  # None: every thing draws its own style
    while True:
        groups = _place_groups(rng, style)
        if groups:
            return Scene(color, (red, green, blue), groups)


def _place_groups(rng: random.Random, style: str | None) -> tuple[Group, ...]:
    """Try one layout; empty if something found no place."""
    kinds = rng.sample(range(len(KINDS)), rng.choices((1, 2, 3), (20, 45, 35))[0])
    many = rng.randrange(len(kinds)) if rng.random() < 0.45 else -1
    placed: list[Thing] = []
    groups = []
    for index, kind in enumerate(kinds):
        count = rng.choice((2, 3, 4)) if index == many else 1
        size = rng.choice(("small", "medium", "large") if count == 1 else ("small", "medium"))
        members: list[Thing] = []
        for _ in range(count):
            thing = place_thing(rng, kind, style or rng.choice(STYLES), size, placed)
            if thing is None:
                return ()
            placed.append(thing)
            members.append(thing)
        groups.append(Group(kind, size, tuple(members)))
    return tuple(groups)


def place_thing(rng: random.Random, kind: int, style: str, size: str, placed: list[Thing]) -> Thing | None:
    """Place a thing that overlaps none of ``placed``; None if there is no place."""
    side = rng.uniform(*SIZES[size])
    margin = side / 2 + 0.01
    for _ in range(PLACING_ATTEMPTS):
        x, y = rng.uniform(margin, 1 - margin), rng.uniform(margin, 1 - margin)
        if all(max(abs(x - other.x), abs(y - other.y)) > (side + other.side) / 2 for other in placed):
            return Thing(kind, style, x, y, side)
    return None


def draw_scene(scene: Scene, *, side_px: int = CANVAS_PX) -> Image.Image:
    picture = Image.new("RGB", (side_px, side_px), scene.rgb)
    for thing in scene.things:
        side = round(thing.side * side_px)
        drawing = sprite(thing.kind, thing.style, side)
        corner = (round(thing.x * side_px - side / 2), round(thing.y * side_px - side / 2))
        picture.paste(drawing, corner, drawing)
    return picture


def draw_for_model(scene: Scene, drawn_px: int) -> Image.Image:
    """Draw the scene at ``drawn_px`` pixels a side and scale it to the model's size, as its preprocessing does."""
    return draw_scene(scene, side_px=drawn_px).resize((CANVAS_PX, CANVAS_PX), Image.Resampling.BICUBIC)
