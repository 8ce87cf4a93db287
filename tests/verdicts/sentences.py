"""Wrong sentences at every place of a text: how often they are found, and how often a true sentence is marked.

Each true text also comes with every sentence in turn replaced by one that the scene makes false.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, Final

from clipalign.methods.contributions import Kind
from clipalign.methods.detect import Pair
from clipalign.methods.score_long import score_long_pairs
from clipalign.methods.settings import LongSettings
from clipalign.models.model import LoadedModel
from clipalign.pictogram.long_captions import LongSceneSample, make_long_sample
from tests.verdicts.rates import rate

SPLIT: Final = "verdicts on sentences"
SCENES: Final = 100
READ_WELL: Final = ("object", "color")
"""What the embedded model tells well; it tells counts, sizes and places worse, in sentences as in words."""


def measure(loaded: LoadedModel, scenes: int = SCENES) -> dict[str, Any]:
    """Shares of wrong sentences found, by kind and by place, and of true ones marked, for each contribution."""
    return {kind.value: _rates(loaded, kind, scenes) for kind in Kind}


def _rates(loaded: LoadedModel, kind: Kind, scenes: int) -> dict[str, Any]:
    found: dict[str, list[bool]] = defaultdict(list)
    settings = LongSettings(contribution=kind.value)
    made = (make_long_sample(number, split=SPLIT) for number in count())
    for sample in islice((one for one in made if one.caption.form == "sentences"), scenes):
        picture, texts = sample.picture(), list(_texts(sample))
        results = score_long_pairs(loaded, [Pair(picture, text) for _, _, text in texts], settings)
        for (place, wrong, _), result in zip(texts, results, strict=True):
            if len(result.sentences) != len(sample.caption.details):
                raise ValueError(f"a text was cut elsewhere than it was joined: {result.text}")
            length = "up to 6" if len(result.sentences) <= 6 else "more than 6"
            for index, sentence in enumerate(result.sentences):
                if index != place:
                    found[f"true, marked, of {length}"].append(sentence.lowers)
                    continue
                found[f"{wrong}, of {length}"].append(sentence.lowers)
                if wrong in READ_WELL:
                    where = "first" if not index else "last" if index == len(result.sentences) - 1 else "between"
                    found[f"{' or '.join(READ_WELL)}, {where}, of {length}"].append(sentence.lowers)
    return {name: rate(outcomes) for name, outcomes in sorted(found.items())}


def _texts(sample: LongSceneSample) -> Iterator[tuple[int, str, str]]:
    """Place and kind of the wrong sentence, -1 and nothing for none, and the text."""
    caption, draw = sample.caption, random.Random(sample.number)
    yield -1, "", caption.text
    for place in range(len(caption.details)):
        wrong = draw.choice(caption.wrong)
        yield place, wrong.kind, caption.join((*caption.details[:place], wrong.text, *caption.details[place + 1 :]))
