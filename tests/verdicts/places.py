"""The pointing game: whether the hottest point of a word's heat map lies in a thing that the word names, by its size.

Beside it the same with the plain map of cosines, of each place's features and the word's text, and chance: the share of
the picture that the things cover.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.data.transforms import to_tensor
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DetectSettings
from clipalign.models.encode import encode_texts
from clipalign.models.model import LoadedModel
from clipalign.pictogram.captions import join_parts, write_caption
from clipalign.pictogram.drawing import draw_scene
from clipalign.pictogram.scenes import CANVAS_PX, Group, compose_scene, scene_random
from tests.verdicts.rates import rate

SPLIT: Final = "verdicts on places"
SCENES: Final = 200


def measure(loaded: LoadedModel, scenes: int = SCENES) -> dict[str, Any]:
    """Shares of hits by size of the things, with intervals, and what chance would give."""
    hits: dict[str, list[bool]] = defaultdict(list)
    chance: dict[str, list[float]] = defaultdict(list)
    for number in range(scenes):
        draw = scene_random(SPLIT, number)
        scene = compose_scene(draw)
        caption = write_caption(draw, scene)
        text, spans = join_parts(caption.parts)
        picture = to_tensor(draw_scene(scene), loaded)
        (result,) = detect_pairs(loaded, [Pair(picture, text)], DetectSettings(explain=True))
        for part, (_, end) in zip(caption.parts, spans, strict=True):
            if part.slot != "object" or part.group < 0:
                continue
            group = scene.groups[part.group]
            heat = next(one for one in result.heat_maps if one.end == end)  # the last word of a name of several
            plain = _plain(loaded, picture, part.text)
            for size in (group.size, "all"):
                hits[f"heat map, {size}"].append(_hits(torch.tensor(heat.rows), group))
                hits[f"plain cosines, {size}"].append(_hits(plain, group))
                chance[f"chance, {size}"].append(sum(thing.side**2 for thing in group.things))
    found = {name: rate(outcomes) for name, outcomes in sorted(hits.items())}
    return found | {name: round(sum(shares) / len(shares), 3) for name, shares in sorted(chance.items())}


@torch.no_grad()
def _plain(loaded: LoadedModel, picture: Tensor, name: str) -> Tensor:
    """Cosine of the text of a name with each place of the pooling's grid, its value projected into the joint space."""
    visual = loaded.network.visual
    grid = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(picture[None])))))
    tokens = grid.flatten(2).transpose(1, 2) + visual.attnpool.positional_embedding[1:]
    places = F.normalize(visual.attnpool.c_proj(visual.attnpool.v_proj(tokens)), dim=-1)[0]
    return (places @ encode_texts(loaded, [f"a photo of {name}"])[0]).view(grid.shape[2:])


def _hits(heat: Tensor, group: Group) -> bool:
    """Whether the hottest point, with the map drawn smoothly over the picture, lies in a thing of the group."""
    drawn = F.interpolate(heat[None, None], (CANVAS_PX, CANVAS_PX), mode="bicubic")[0, 0]
    row, column = divmod(int(drawn.argmax()), CANVAS_PX)
    x, y = (column + 0.5) / CANVAS_PX, (row + 0.5) / CANVAS_PX
    return any(max(abs(x - thing.x), abs(y - thing.y)) < thing.side / 2 for thing in group.things)
