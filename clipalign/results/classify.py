"""What classify says of a picture."""

from __future__ import annotations

from dataclasses import dataclass

from clipalign.results.provenance import Provenance


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class and how well it fits.

    Attributes:
        name: of the class, as given.
        score: cosine of picture and class, -1 to 1; higher fits better.
        scale: what the class's contributions, all summed, are multiplied with to give the score; None where nothing
            is explained.
    """

    name: str
    score: float
    scale: float | None = None


@dataclass(frozen=True, slots=True)
class CropWeight:
    """A part of a picture and how much it counts.

    Attributes:
        box: left, top, right, bottom in pixels of the upright picture; right and bottom are one past the last.
        weight: 0 to 1; those of a picture sum to 1.
    """

    box: tuple[int, int, int, int]
    weight: float


@dataclass(frozen=True, slots=True)
class DescriptionWeight:
    """A text about a class and how much it counts.

    Attributes:
        class_name: of the class.
        text: as it was encoded.
        weight: 0 to 1; those of a class sum to 1.
    """

    class_name: str
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class ClassifyResult:
    """The classes that fit one picture best (WCA and its baselines).

    Attributes:
        id: identifier of the picture, or its name.
        image: path, URL or name of the image as given.
        model: model name as given.
        method: ``wca``, ``clip``, ``clip-e``, ``clip-d``, ``waffle`` or ``cupl``.
        classes: the best ones, best first.
        image_size: width and height of the upright picture in pixels.
        provenance: model, versions, settings.
        crops: what the picture was seen as, N; empty where nothing is explained.
        descriptions: the texts of ``classes``, class after class, M in all; empty where nothing is explained.
        contributions: of each crop (N rows) with each description (M columns): weight of the crop, times their cosine,
            times weight of the description (WCA).
        warnings: what a reader must know about this picture.
    """

    id: str
    image: str
    model: str
    method: str
    classes: tuple[ClassScore, ...]
    image_size: tuple[int, int]
    provenance: Provenance
    crops: tuple[CropWeight, ...] = ()
    descriptions: tuple[DescriptionWeight, ...] = ()
    contributions: tuple[tuple[float, ...], ...] = ()
    warnings: tuple[str, ...] = ()
