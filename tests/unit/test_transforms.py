"""Crops depend on the picture and the seed, and on nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from clipalign.data.transforms import crop_boxes, cut_and_prepare, picture_seed, to_tensor, to_values
from tests.tiny import GOLDEN, load_tiny


def boxes(size: tuple[int, int] = (200, 150), *, crops: int = 200, alpha: float = 0.5, seed: int = 7) -> Any:
    return crop_boxes(size, crops=crops, alpha=alpha, seed=seed)


class TestBoxes:
    @pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9])
    def test_alpha_bounds_the_side_from_below_and_nine_tenths_from_above(self, alpha: float) -> None:
        sides = {right - left for left, top, right, bottom in boxes(alpha=alpha)}
        assert min(sides) >= max(1, int(alpha * 150)) and max(sides) <= 135
        assert alpha == 0.9 or (min(sides) < (alpha + 0.1) * 150 and max(sides) > 120)

    def test_they_are_square_and_inside(self) -> None:
        for left, top, right, bottom in boxes():
            assert right - left == bottom - top
            assert min(left, top) >= 0 and right <= 200 and bottom <= 150

    def test_every_place_can_be_reached(self) -> None:
        found = boxes((3, 3), crops=500, alpha=0.0)
        assert {box[:2] for box in found if box[2] - box[0] == 1} == {(x, y) for x in range(3) for y in range(3)}

    @pytest.mark.parametrize("size", [(1, 1), (1, 500), (7, 2)])
    def test_a_picture_of_a_pixel_has_crops_of_a_pixel(self, size: tuple[int, int]) -> None:
        assert all(right > left and bottom > top for left, top, right, bottom in boxes(size, alpha=0.0))

    def test_a_seed_gives_the_same_boxes_in_every_version(self) -> None:
        assert boxes(crops=2) == [(16, 37, 110, 131), (65, 26, 144, 105)]
        assert boxes(seed=8) != boxes()

    def test_fewer_crops_are_the_first_of_many(self) -> None:
        assert boxes(crops=5) == boxes(crops=50)[:5]


class TestPictureSeed:
    picture = Image.open(GOLDEN / "images" / "wca.png").convert("RGB")

    def test_it_knows_the_picture_not_its_name_or_type(self) -> None:
        same = self.picture.copy()
        same.filename = "other.png"  # type: ignore[attr-defined]  # as a picture that was opened has
        assert picture_seed(same, 0) == picture_seed(self.picture, 0)

    def test_another_seed_size_or_picture_gives_another(self) -> None:
        turned = self.picture.transpose(Image.Transpose.ROTATE_180)
        wider = self.picture.resize((201, 150))
        found = [picture_seed(self.picture, seed) for seed in (0, 1)] + [picture_seed(p, 0) for p in (turned, wider)]
        assert len(set(found)) == 4


def test_pixels_beyond_a_crop_do_not_leak_into_it() -> None:
    loaded = load_tiny()
    picture = Image.open(GOLDEN / "images" / "wca.png").convert("RGB")
    box = (20, 20, 120, 120)
    blackened = Image.new("RGB", picture.size)
    blackened.paste(picture.crop(box), box[:2])
    squares = cut_and_prepare(picture, [box], loaded)
    assert torch.equal(cut_and_prepare(blackened, [box], loaded)[1], squares[1])
    whole, crop = to_values(squares, loaded)
    assert torch.equal(whole, to_tensor(picture, loaded)) and torch.equal(crop, to_tensor(picture.crop(box), loaded))
