"""``nocaps-foil``: captions of nocaps' validation pictures and the same with one object exchanged (ALOHa).

Petryk et al., NAACL 2024. Protocol as for FOIL; every row gives its foil and then its baseline, and counts for the
domain of its picture too. Some foils have several words ("golf ball"), which one predicted word can never equal: the
ceiling that this sets to LA is said beside the numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.task import BrokenSample, Outcome, Sample
from clipalign.evaluation.tasks.foil import foil_statistics, foil_words
from clipalign.evaluation.tasks.hat import AlohaBenchmark
from clipalign.evaluation.tasks.words import DetectRoute, broken, parts_of, suffix_of

if TYPE_CHECKING:
    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel

FILE: Final = "nocaps-val-foil.json"
SHA256: Final = "ec15966bbaf4ba7faa5cb3eb6a5ebbd4b38bc3345de42b7f0e5f6cc333f642ca"
PICTURES: Final = ("images", "val", "images/val", "nocaps", "../nocaps/images", "../nocaps")
ROWS: Final = 2500
SAMPLES_A_ROW: Final = 2


class NocapsFoil(AlohaBenchmark):
    """The benchmark; see the module's text for its protocol."""

    name = "nocaps-foil"
    size = ROWS * SAMPLES_A_ROW
    file = FILE
    sha256 = SHA256
    places = PICTURES

    def _remarks(self, rows: Sequence[Any]) -> tuple[str, ...]:
        return (_ceiling(rows),)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Sample | BrokenSample]:
        """Row after row: foil, then baseline."""
        wanted = SAMPLES_A_ROW * len(self._rows) if limit is None else limit
        for number, row in enumerate(self._rows[: -(-wanted // SAMPLES_A_ROW)]):
            yield from self._pair(str(number), row)[: wanted - number * SAMPLES_A_ROW]

    def _pair(self, number: str, row: Any) -> tuple[Sample | BrokenSample, Sample | BrokenSample]:
        ids = f"{number}-foil", f"{number}-baseline"
        try:
            name, domain = str(row["image_path"]), str(row["domain"])
            texts = row["foil"].strip(), row["baseline"].strip()
            foil = str(row["replacement"][1]).strip()
            references = tuple(map(str, row["references"]))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            what = f"row {number} of {FILE} is not as it should be: {error}"
            return broken(ids[0], "", what), broken(ids[1], "", what)
        image = self._folder / name
        truth = {"foil_word": foil}
        return (
            Sample(ids[0], image, name, texts[0], False, domain, references=references, truth=truth),
            Sample(ids[1], image, name, texts[1], True, domain, references=references),
        )

    def route(self, loaded: LoadedModel, settings: Settings) -> DetectRoute:
        """``detect`` in mode ``most-negative``, unless the user chose another."""
        return DetectRoute(loaded, settings, mode="most-negative")

    def wrong_words(self, outcome: Outcome) -> tuple[bool, ...]:
        """The foil of a foiled caption, none of a baseline."""
        return foil_words(outcome)

    def statistics(self, outcomes: Sequence[Outcome]) -> list[Statistic]:
        """LA, and AP of the three scores, in all and per domain."""
        found = foil_statistics(outcomes)
        for part in parts_of(outcomes):
            found += foil_statistics([o for o in outcomes if o.part == part], suffix=suffix_of(part))
        return found


def _ceiling(rows: Sequence[Any]) -> str:
    """What foils of several words mean for LA."""
    words = Counter(len(str(row["replacement"][1]).split()) for row in rows if _has_foil(row))
    several = sum(count for length, count in words.items() if length > 1)
    whole = sum(words.values())
    if not several:
        return ""
    return (
        f"{several:,} of the {whole:,} foils have several words, which one predicted word cannot be: "
        f"LA cannot pass {1 - several / whole:.3f}"
    )


def _has_foil(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("replacement"), list) and len(row["replacement"]) > 1
