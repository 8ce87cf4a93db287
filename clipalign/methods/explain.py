"""Where in the picture each word of a caption is seen.

The heat of a word is that of the picture (:mod:`clipalign.models.heat`) for the caption's vector less the vector of the
caption without the word: what in the picture draws it to the caption because of the word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from torch import Tensor

from clipalign.device import with_oom_retry
from clipalign.models.encode import encode_tokens
from clipalign.models.heat import heat_maps
from clipalign.models.tokenize import tokenize_text
from clipalign.results import HeatMap

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel
    from clipalign.results import DetectResult

MAX_WORDS: Final = 64
"""Words of a caption that are explained, the first ones."""


def explain(
    loaded: LoadedModel, picture: Tensor, result: DetectResult, *, template: str, batch_size: int
) -> tuple[HeatMap, ...]:
    """The heat map of each scored word of a result, for its preprocessed picture (3, S, S)."""
    words = [word for word in result.words if word.scored][:MAX_WORDS]
    without = [f"{result.text[: word.start].rstrip()} {result.text[word.end :].lstrip()}".strip() for word in words]
    tokens = [tokenize_text(loaded, template + text) for text in (result.text, *without)]
    vectors = with_oom_retry(batch_size, lambda size: encode_tokens(loaded, tokens, batch_size=size))
    maps = heat_maps(loaded, picture, vectors[0] - vectors[1:])  # (W, rows, columns)
    return tuple(
        HeatMap(word.text, word.start, word.end, tuple(map(tuple, heat)))
        for word, heat in zip(words, maps.tolist(), strict=True)
    )
