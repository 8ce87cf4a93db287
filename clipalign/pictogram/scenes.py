"""Composes scenes: a few groups of pictograms on a coloured ground, laid out so that what is said of them is decidable.

Everything follows from one seeded ``random.Random``; the same seed gives the same scene on every machine. Coordinates
are shares of the canvas, origin top left.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from PIL import Image

from clipalign.pictogram.world import CANVAS_PX, COLORS, KINDS, SIZES, STYLES, sprite

PLACING_ATTEMPTS: Final = 40
COLOR_JITTER: Final = 10


@dataclass(frozen=True, slots=True)
class Thing:
    """One drawn object: centre and side as shares of the canvas."""

    kind: int
    style: str
    x: float
    y: float
    side: float


@dataclass(frozen=True, slots=True)
class Group:
    """One to four things of one kind and one size."""

    kind: int
    size: str
    things: tuple[Thing, ...]

    @property
    def count(self) -> int:
        """How many things there are."""
        return len(self.things)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture before it is drawn."""

    color: str
    rgb: tuple[int, int, int]
    groups: tuple[Group, ...]

    @property
    def kinds(self) -> frozenset[int]:
        """Kinds that occur in the scene."""
        return frozenset(group.kind for group in self.groups)

    @property
    def things(self) -> tuple[Thing, ...]:
        """All drawn objects."""
        return tuple(thing for group in self.groups for thing in group.things)


def compose_scene(rng: random.Random) -> Scene:
    """A random scene of one to three groups, at most six things, no two of them overlapping."""
    color = rng.choice(tuple(COLORS))
    red, green, blue = (min(255, max(0, c + rng.randint(-COLOR_JITTER, COLOR_JITTER))) for c in COLORS[color])
    style = rng.choice((*STYLES, None))  # None: every thing draws its own style
    while True:
        groups = _place_groups(rng, style)
        if groups:
            return Scene(color, (red, green, blue), groups)


def _place_groups(rng: random.Random, style: str | None) -> tuple[Group, ...]:
    """One attempt at a layout; empty when something found no room."""
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
    """A thing that overlaps none of ``placed``; None where it found no room."""
    side = rng.uniform(*SIZES[size])
    margin = side / 2 + 0.01
    for _ in range(PLACING_ATTEMPTS):
        x, y = rng.uniform(margin, 1 - margin), rng.uniform(margin, 1 - margin)
        if all(max(abs(x - other.x), abs(y - other.y)) > (side + other.side) / 2 for other in placed):
            return Thing(kind, style, x, y, side)
    return None


def draw_scene(scene: Scene, *, side_px: int = CANVAS_PX) -> Image.Image:
    """The scene as an RGB picture of ``side_px`` x ``side_px`` pixels."""
    picture = Image.new("RGB", (side_px, side_px), scene.rgb)
    for thing in scene.things:
        side = round(thing.side * side_px)
        drawing = sprite(thing.kind, thing.style, side)
        corner = (round(thing.x * side_px - side / 2), round(thing.y * side_px - side / 2))
        picture.paste(drawing, corner, drawing)
    return picture
