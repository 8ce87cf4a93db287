"""What a method brings to a run over many records: how a picture is prepared, encoded, and scored with a record's text.

The run (:mod:`clipalign.batch.runner`) knows nothing of the method, and the method nothing of threads, windows, files
and errors of other records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from clipalign.errors import ClipalignError
from clipalign.inputs.records import InputRecord
from clipalign.results import Provenance

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

R_co = TypeVar("R_co", covariant=True)


class ScoreItem(NamedTuple):
    """A record and the features of its picture, as :meth:`Scorer.encode` gave them."""

    record: InputRecord
    features: Tensor


class Scorer(Protocol[R_co]):
    """A method, ready to score records.

    Attributes are read-only; nothing but ``prepare`` is called from more than one thread.
    """

    @property
    def window_records(self) -> int:
        """Records scored together, at most; results do not depend on it beyond rounding."""
        ...

    @property
    def pictures_ahead(self) -> int:
        """Prepared pictures held at most, which bounds memory; ``encode`` gets up to half of them at a time."""
        ...

    @property
    def provenance(self) -> Provenance:
        """What every result of the run carries."""
        ...

    def prepare(self, picture: Image) -> Tensor:
        """An RGB picture as ``encode`` takes it; in a worker thread, several at once.

        Raises:
            ClipalignError: this picture cannot be used; its records get the error.
        """
        ...

    def encode(self, prepared: Sequence[Tensor]) -> Sequence[Tensor | ClipalignError]:
        """The features of each prepared picture, in their order, or why one has none."""
        ...

    def score(self, items: Sequence[ScoreItem]) -> Sequence[R_co | ClipalignError]:
        """A result for each item, in their order, or why this one has none; at least one item.

        Raises:
            ClipalignError: nothing can be scored, and the run ends: settings out of range, a model that gives no
                finite numbers, a device without memory.
        """
        ...
