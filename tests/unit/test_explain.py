"""Where in the picture each word is seen: an array a word, drawn over the picture on the page."""

from __future__ import annotations

import numpy
import pytest
import torch
from PIL import Image

import clipalign
from clipalign.errors import InputUnreadable, UsageError
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DetectSettings
from clipalign.models.model import LoadedModel
from clipalign.output.detect import DetectFormatter
from clipalign.output.html import card_of, data_url, render_template
from clipalign.output.records import Entry
from clipalign.pictogram.scenes import HERE
from clipalign.results import DetectResult, HeatMap
from tests.tiny import GOLDEN, load_random, load_tiny

PICTURE = Image.open(GOLDEN / "images" / "0.png")


def explained(loaded: LoadedModel, image: object, text: str) -> DetectResult:
    pair = Pair(image, text, image_name="0.png")  # type: ignore[arg-type]
    return detect_pairs(loaded, [pair], DetectSettings(explain=True))[0]


def test_every_scored_word_has_a_map_of_the_grid() -> None:
    loaded = load_tiny()
    result = explained(loaded, PICTURE, "a red car, two dogs")
    assert [one.text for one in result.heat_maps] == ["a", "red", "car", "two", "dogs"]
    for one, word in zip(result.heat_maps, result.words, strict=True):
        assert (one.start, one.end) == (word.start, word.end)
        assert one.array.shape == loaded.network.visual.grid_size and one.array.min() >= 0
    assert max(one.array.max() for one in result.heat_maps) > 0
    assert result.to_dict()["heat_maps"][0]["rows"] == [list(row) for row in result.heat_maps[0].rows]


def test_nothing_else_changes_and_nothing_comes_unasked() -> None:
    (plain,) = detect_pairs(load_tiny(), [Pair(PICTURE, "a red car", image_name="0.png")])
    result = explained(load_tiny(), PICTURE, "a red car")
    assert plain.words == result.words and plain.cosine == result.cosine and plain.heat_maps == ()
    assert "heat_maps" not in plain.to_dict() and "explain" not in plain.provenance.settings
    assert result.provenance.settings["explain"] is True


def test_the_cat_is_where_the_cat_is() -> None:
    """In the example a cat is on the left, balloons on the right."""
    session = clipalign.load("pictogram")
    result = session.detect(HERE / "example.png", "a cat and two balloons", explain=True)
    cat, balloons = (next(one for one in result.heat_maps if one.text == text) for text in ("cat", "balloons"))
    columns = numpy.arange(cat.array.shape[1])
    left, right = ((one.array.sum(0) * columns).sum() / one.array.sum() for one in (cat, balloons))
    assert left < right
    (again,) = session.detect_many([(HERE / "example.png", "a cat and two balloons")], explain=True)
    assert numpy.allclose(again.heat_maps[1].array, result.heat_maps[1].array, rtol=1e-3)


def test_features_and_other_towers_have_no_places() -> None:
    width = len(load_tiny().network.encode_image(torch.zeros(1, 3, *2 * [load_tiny().image_size]))[0])
    with pytest.raises(InputUnreadable, match="give the picture"):
        explained(load_tiny(), torch.ones(width), "a dog")
    with pytest.raises(UsageError, match="does not expose its attention"):
        explained(load_random("coca"), PICTURE, "a dog")


def test_the_page_draws_them_over_the_picture_and_escapes_words() -> None:
    result = explained(load_tiny(), PICTURE, "<b>dog</b> cat")
    hot = HeatMap("<b>dog</b>", 0, 10, ((0.0, 0.5), (1.0, 0.25)))
    record = result.to_dict() | {
        "heat_maps": [{"text": hot.text, "start": 0, "end": 10, "rows": [list(row) for row in hot.rows]}]
    }
    entry = Entry(record, thumbnail=data_url((GOLDEN / "images" / "0.png").read_bytes()))
    formatter = DetectFormatter()
    page = render_template("detect.html", card=card_of(formatter, entry, formatter.scale_of([record]), 7))
    assert '<image id="seen-7"' in page and '<rect x="0" y="1" width="1" height="1" fill-opacity="1.0"/>' in page
    assert page.count("<rect x=") >= 3 and "<b>dog" not in page and "<script" not in page
