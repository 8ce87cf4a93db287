"""``classify`` as a JSON record. Torch-free."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from clipalign.results import ClassifyResult, ClassScore


def classify_record(result: ClassifyResult) -> dict[str, Any]:
    """The record of one picture; crops, descriptions and contributions only where they were asked for."""
    record: dict[str, Any] = {
        "id": result.id,
        "image": result.image,
        "model": result.model,
        "method": result.method,
        "classes": [_class(one) for one in result.classes],
        "image_size": list(result.image_size),
    }
    if result.crops:
        record |= {
            "crops": [{"box": list(one.box), "weight": one.weight} for one in result.crops],
            "descriptions": [
                {"class": one.class_name, "text": one.text, "weight": one.weight} for one in result.descriptions
            ],
            "contributions": [list(row) for row in result.contributions],
        }
    return record | {"warnings": list(result.warnings), "provenance": asdict(result.provenance)}


def _class(one: ClassScore) -> dict[str, object]:
    record: dict[str, object] = {"name": one.name, "score": one.score}
    return record if one.scale is None else record | {"scale": one.scale}
