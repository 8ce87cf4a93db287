"""Pictogram scenes: what can occur in one, and how one is composed. Torch-free.

Plain scenes are drawings apart from each other on one color. Varied ones also overlap, go down to 8 % of the side and
up to six of a kind, are drawn in several materials, and stand on textured grounds in the colors of photographs.

The tables fix the meaning of the trained weights: changing their order or size requires new training. Everything else
follows from one seeded ``random.Random``, the same on every machine. Coordinates are shares of the canvas, origin top
left.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
STYLES: Final = ("noto", "twemoji")
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
MANY_WORDS: Final[dict[int, str]] = {**COUNT_WORDS, 5: "five", 6: "six"}
"""Counts of plain and of varied scenes."""

MATERIALS: Final = ("outlined", "flat", "shaded")
"""How a varied scene may draw a group, as captions say it."""
UNSEEN_MATERIAL: Final = "pencil"
"""A way of drawing that no training scene has and no caption names."""
PATTERNS: Final = ("plain", "gradient", "stripes", "checks", "cloudy")


PLACING_ATTEMPTS: Final = 40
COLOR_JITTER: Final = 10


@dataclass(frozen=True, slots=True)
class Thing:
    """One drawn object: center and side as shares of the canvas; material, and degrees that it is turned by."""

    kind: int
    style: str
    x: float
    y: float
    side: float
    material: str = field(default="", repr=False)  # what plain scenes lack stays out of their identity
    tilt: int = field(default=0, repr=False)


@dataclass(frozen=True, slots=True)
class Group:
    kind: int
    size: str
    things: tuple[Thing, ...]

    @property
    def count(self) -> int:
        return len(self.things)

    @property
    def material(self) -> str:
        return self.things[0].material

    @property
    def xs(self) -> tuple[float, ...]:
        return tuple(thing.x for thing in self.things)

    @property
    def ys(self) -> tuple[float, ...]:
        return tuple(thing.y for thing in self.things)


@dataclass(frozen=True, slots=True)
class Ground:
    """A varied ground and the light on the scene.

    Attributes:
        pattern: one of ``PATTERNS``, in shades of the scene's color.
        contrast: of the pattern, 0 to 1.
        saturation, brightness: factors on the whole picture.
        blur: radius as a share of the side.
        seed: decides the pattern's phase and the noise.
    """

    pattern: str
    contrast: float
    saturation: float
    brightness: float
    blur: float
    seed: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene; only a varied one has a ``ground`` beyond its color."""

    color: str
    rgb: tuple[int, int, int]
    groups: tuple[Group, ...]
    ground: Ground | None = field(default=None, repr=False)

    @property
    def varied(self) -> bool:
        return self.ground is not None

    @property
    def count_words(self) -> dict[int, str]:
        return MANY_WORDS if self.varied else COUNT_WORDS

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
    color, rgb = choose_color(rng)
    style = rng.choice((*STYLES, None))  # None: every thing draws its own style
    while True:
        groups = _place_groups(rng, style)
        if groups:
            return Scene(color, rgb, groups)


def choose_color(rng: random.Random, jitter: int = COLOR_JITTER) -> tuple[str, tuple[int, int, int]]:
    color = rng.choice(tuple(COLORS))
    red, green, blue = (min(255, max(0, c + rng.randint(-jitter, jitter))) for c in COLORS[color])
    return color, (red, green, blue)


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


# --- varied scenes ----------------------------------------------------------------------------------------------------

VARIED_JITTER: Final = 14
VARIED_SIZES: Final = {"small": (0.08, 0.25), "medium": (0.30, 0.37), "large": (0.46, 0.60)}
MOST_THINGS: Final = 8
CROWDED: Final = 0.7
"""Distance that overlapping things keep, as a share of the one at which they touch."""
REGIONS: Final = ((0, 0, 1, 1), (0, 0, 1, 1), (0, 0, 0.5, 1), (0.5, 0, 1, 1), (0, 0, 1, 0.5), (0, 0.5, 1, 1))
"""Parts of the canvas that a group keeps to, left, top, right and bottom."""


def compose_varied(rng: random.Random, *, material: str | None = None) -> Scene:
    """Compose a varied scene of one to three groups; ``material`` is that of everything, None for a mixture."""
    color, rgb = choose_color(rng, VARIED_JITTER)
    ground = Ground(
        pattern=rng.choice(PATTERNS),
        contrast=rng.uniform(0.2, 1),
        saturation=rng.uniform(0.85, 1.15),
        brightness=rng.uniform(0.93, 1.07),
        blur=rng.choice((0, 0, 0.006)),
        seed=rng.getrandbits(32),
    )
    while True:
        groups = _place_varied(rng, material)
        if groups:
            return Scene(color, rgb, groups, ground)


def _place_varied(rng: random.Random, material: str | None) -> tuple[Group, ...]:
    kinds = rng.sample(range(len(KINDS)), rng.choices((1, 2, 3), (20, 45, 35))[0])
    counts = [rng.choice((1, 1, rng.randint(2, 6))) for _ in kinds]
    if sum(counts) > MOST_THINGS:
        return ()
    style, distance = rng.choice((*STYLES, None)), rng.choice((1.0, 1.0, CROWDED))
    placed: list[Thing] = []
    groups = []
    for kind, count in zip(kinds, counts, strict=True):
        size = rng.choice(("small", "medium", "large")[: 3 if count == 1 else 2 if count == 2 else 1])
        low, high = VARIED_SIZES[size]
        side = rng.triangular(low, high, high)
        drawn = material or rng.choice(("", "", *MATERIALS))
        region = rng.choice(REGIONS)
        members: list[Thing] = []
        for _ in range(count):
            spot = _find_spot(rng, side, region, placed, distance)
            if spot is None:
                return ()
            members.append(Thing(kind, style or rng.choice(STYLES), *spot, side, drawn, rng.randint(-12, 12)))
            placed.append(members[-1])
        groups.append(Group(kind, size, tuple(members)))
    return tuple(groups)


def _find_spot(
    rng: random.Random, side: float, region: tuple[float, ...], placed: list[Thing], distance: float
) -> tuple[float, float] | None:
    left, top, right, bottom = region
    margin = side / 2 + 0.01
    if right - left < 2 * margin or bottom - top < 2 * margin:
        left, top, right, bottom = 0, 0, 1, 1
    for _ in range(PLACING_ATTEMPTS):
        x, y = rng.uniform(left + margin, right - margin), rng.uniform(top + margin, bottom - margin)
        if all(max(abs(x - one.x), abs(y - one.y)) > distance * (side + one.side) / 2 for one in placed):
            return x, y
    return None
