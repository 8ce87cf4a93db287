"""Draws the pictures of ``.assets/examples`` and writes the files beside them: what the pages' examples run on.

    .venv/bin/python .assets/examples.py

The scenes are composed by hand, so that it is plain to see which captions are true.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from clipalign.pictogram.drawing import draw_scene  # noqa: E402
from clipalign.pictogram.scenes import COLORS, KINDS, SIZES, Group, Scene, Thing  # noqa: E402  # noqa: E402

FOLDER: Final = ROOT / ".assets" / "examples"
SIDE_PX: Final = 192

Placed = tuple[str, str, str, tuple[tuple[float, float], ...]]
"""Kind, style, size, and where each thing of the group stands."""

SCENES: Final[dict[str, tuple[str, tuple[Placed, ...]]]] = {
    "cat": (
        "blue",
        (("cat", "noto", "large", ((0.3, 0.6),)), ("balloon", "noto", "small", ((0.75, 0.25), (0.8, 0.7)))),
    ),
    "fruit": (
        "yellow",
        (("apple", "twemoji", "medium", ((0.25, 0.3), (0.3, 0.75))), ("banana", "noto", "medium", ((0.7, 0.5),))),
    ),
    "harbor": ("blue", (("sailboat", "noto", "large", ((0.3, 0.35),)), ("anchor", "noto", "medium", ((0.75, 0.75),)))),
    "breakfast": (
        "brown",
        (("cup of coffee", "noto", "medium", ((0.25, 0.5),)), ("croissant", "noto", "medium", ((0.75, 0.5),))),
    ),
    "street": (
        "gray",
        (("bus", "twemoji", "large", ((0.35, 0.65),)), ("traffic light", "noto", "medium", ((0.8, 0.25),))),
    ),
    "forest": (
        "green",
        (("tree", "noto", "medium", ((0.2, 0.4), (0.55, 0.35), (0.8, 0.75))), ("owl", "noto", "small", ((0.3, 0.85),))),
    ),
    "night": (
        "black",
        (("moon", "noto", "large", ((0.65, 0.35),)), ("star", "noto", "small", ((0.2, 0.2), (0.25, 0.75)))),
    ),
    "garden": ("green", (("rose", "noto", "medium", ((0.3, 0.7),)), ("butterfly", "noto", "medium", ((0.7, 0.3),)))),
}

CAPTIONS: Final = (
    ("cat", "a large cat and two balloons on a blue background"),
    ("fruit", "two apples and a pear"),
    ("harbor", "a sailboat on a blue background"),
    ("breakfast", "a cup of coffee and a croissant"),
    ("street", "a fire truck and a traffic light on a gray background"),
    ("forest", "three trees and an owl"),
    ("night", "a moon and two stars on a white background"),
    ("garden", "a butterfly above a rose"),
)
"""What a captioner might write; the second, fifth and seventh have a wrong word each."""

FOILS: Final = {
    "cat": ("a cat and two balloons", "a dog and two balloons", "dog"),
    "fruit": ("two apples and a banana", "two apples and a pear", "pear"),
    "harbor": ("a sailboat on a blue background", "a sailboat on a red background", "red"),
    "breakfast": ("a cup of coffee and a croissant", "a cup of coffee and a pizza", "pizza"),
    "street": ("a bus on a gray background", "a bus on a pink background", "pink"),
    "forest": ("three trees and an owl", "three trees and a bear", "bear"),
    "night": ("a moon and two stars", "a sun and two stars", "sun"),
    "garden": ("a rose and a butterfly", "a rose and a spider", "spider"),
}
"""For labeled data of one's own, in FOIL's format: a true caption, a false one, and its false word."""

LONG: Final = (
    "There is a cat. There are two balloons. The background is blue. The cat is on the left. There is a dog.\n"
)

DESCRIPTIONS: Final = {
    "cat": ["a picture of a cat", "a large cat on the left", "a cat and balloons"],
    "dog": ["a picture of a dog", "a large dog on the left"],
    "fox": ["a picture of a fox", "a large fox"],
}

SETTINGS: Final = """\
# The examples run on the embedded models. For photographs, leave this file out: the default is ViT-B-32.
model = "pictogram"

[score-long]
model = "pictogram-long"
"""


def scene_of(color: str, groups: tuple[Placed, ...]) -> Scene:
    """A scene from its description."""
    numbers = {kind.name: number for number, kind in enumerate(KINDS)}
    made = []
    for kind, style, size, places in groups:
        side = sum(SIZES[size]) / 2
        made.append(Group(numbers[kind], size, tuple(Thing(numbers[kind], style, x, y, side) for x, y in places)))
    return Scene(color, COLORS[color], tuple(made))


def foil_document() -> dict[str, object]:
    """``FOILS`` as an annotation file."""
    images, annotations = [], []
    for number, (name, (true, false, word)) in enumerate(FOILS.items(), 1):
        images.append({"id": number, "file_name": f"{name}.png"})
        annotations.append({"image_id": number, "caption": true, "foil_word": "ORIG"})
        annotations.append({"image_id": number, "caption": false, "foil_word": word})
    return {"images": images, "annotations": annotations}


def main() -> None:
    """Write all of it."""
    (FOLDER / "images").mkdir(parents=True, exist_ok=True)
    for name, (color, groups) in SCENES.items():
        picture = draw_scene(scene_of(color, groups), side_px=SIDE_PX)
        picture.quantize(128).save(FOLDER / "images" / f"{name}.png", optimize=True)
    files = {
        "captions.jsonl": "".join(
            json.dumps({"id": name, "image": f"{name}.png", "text": text}) + "\n" for name, text in CAPTIONS
        ),
        "foilv1.0_test_2017.json": json.dumps(foil_document(), indent=1) + "\n",
        "caption.txt": LONG,
        "labels.txt": "cat\ndog\nfox\nballoon\n",
        "descriptions.json": json.dumps(DESCRIPTIONS, indent=2) + "\n",
        "clipalign.toml": SETTINGS,
    }
    for name, content in files.items():
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
