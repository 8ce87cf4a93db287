"""Numbers of papers, to be read beside ours; never a pass mark.

Their own tables disagree among themselves by up to 0.03: read each as "about". Shares are 0 to 1 here, whatever was
printed there. A backbone is what the number was measured with; where it was another method, its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from clipalign.results import Published

POSTER: Final = "CLIP4DM's poster (AAAI 2025)"
WCA: Final = "WCA repository"
SPECS: Final = "SPECS repository"
LONG_CLIP: Final = "Long-CLIP paper"
HIMO: Final = "HiMo-CLIP repository"

_B32, _B16, _L14, _H14 = "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-H/14"
_LAION: Final = "laion2b"


def _rows(
    source: str, metrics: Sequence[str], by_backbone: Mapping[str, Sequence[float | None]]
) -> Iterator[Published]:
    """A table as it is printed: a line a backbone, a column a metric; None where the paper has nothing."""
    for backbone, values in by_backbone.items():
        for metric, value in zip(metrics, values, strict=True):
            if value is not None:
                yield Published(metric, value, backbone, source)


def _words(by_backbone: Mapping[str, Sequence[float | None]]) -> tuple[Published, ...]:
    return tuple(_rows(POSTER, ("la", "ap_f_clip_score", "ap_clip_score", "ap_ref_clip_score"), by_backbone))


_BACKBONES: Final = (_B32, _B16, _L14)
_METHODS: Final = ("clip", "clip_e", "clip_d", "waffle", "cupl", "wca")


def _classes(*rows: Sequence[float]) -> tuple[Published, ...]:
    """WCA's table of one set: a row a method in the order of ``_METHODS``, then WCA's σ; a column a backbone."""
    names = [*(f"top1_{method}" for method in _METHODS), "top1_wca_std"]
    return tuple(
        Published(name, round(percent / 100, 6), backbone, WCA)
        for name, values in zip(names, rows, strict=True)
        for backbone, percent in zip(_BACKBONES, values, strict=True)
    )


def _shifted(*percents: float) -> tuple[Published, ...]:
    """WCA's table of shifted ImageNets with ViT-B/16: CLIP, CLIP-E, CuPL, WCA."""
    names = ("top1_clip", "top1_clip_e", "top1_cupl", "top1_wca")
    return tuple(Published(name, round(value / 100, 6), _B16, WCA) for name, value in zip(names, percents, strict=True))


def _templates(clip_b: float, long_b: float, clip_l: float, long_l: float) -> tuple[Published, ...]:
    """Long-CLIP's table of zero-shot classification with the 80 templates."""
    by_backbone = {f"CLIP {_B16}": clip_b, "Long-CLIP-B": long_b, f"CLIP {_L14}": clip_l, "Long-CLIP-L": long_l}
    return tuple(
        Published("top1_clip_e", round(value / 100, 6), name, LONG_CLIP) for name, value in by_backbone.items()
    )


def _percent(source: str, metrics: Sequence[str], by_backbone: Mapping[str, Sequence[float]]) -> tuple[Published, ...]:
    shares = {name: [round(value / 100, 6) for value in values] for name, values in by_backbone.items()}
    return tuple(_rows(source, metrics, shares))


PUBLISHED: Final[dict[str, tuple[Published, ...]]] = {
    "foil": _words(
        {
            f"{_B32} openai": (0.73, 0.71, 0.71, 0.75),
            f"{_H14} {_LAION}": (0.84, 0.81, 0.76, None),
            "ALOHa": (0.40, 0.61, None, None),
        }
    ),
    "nocaps-foil": _words(
        {
            f"{_B32} openai": (0.60, 0.69, 0.69, 0.74),
            f"{_H14} {_LAION}": (0.72, 0.80, 0.72, None),
            f"{_B32} {_LAION}": (0.667, 0.760, None, None),
            f"{_B16} openai": (0.679, 0.747, None, None),
            f"{_L14} openai": (0.653, 0.781, None, None),
            f"{_L14} {_LAION}": (0.728, 0.796, None, None),
            f"ViT-g/14 {_LAION}": (0.706, 0.806, None, None),
            "ALOHa": (0.45, 0.70, None, None),
        }
    ),
    "hat": _words(
        {
            f"{_B32} openai": (0.19, 0.36, 0.39, 0.43),
            f"{_H14} {_LAION}": (0.35, 0.36, None, None),
            "ALOHa": (0.20, 0.49, None, None),
        }
    ),
    "richhf": tuple(
        _rows(
            POSTER,
            ("f1", "precision", "recall", "pearson_f_clip_score", "spearman_f_clip_score"),
            {
                f"{_H14} {_LAION}": (0.43, 0.37, 0.52, 0.37, 0.43),
                f"{_H14} {_LAION}, epsilon -5e-5": (0.31, 0.49, 0.23, None, None),
                f"{_B32} openai": (0.40, 0.33, 0.50, 0.28, 0.33),
                "ALOHa": (0.34, 0.31, 0.39, None, None),
                "PickScore": (None, None, None, 0.35, 0.34),
                "Rich-HF, fine-tuned (two variants' mean)": (0.435, 0.62, 0.335, 0.49, 0.50),
            },
        )
    )
    + tuple(_rows(POSTER, ("pearson_clip_score", "spearman_clip_score"), {"CLIPScore": (0.19, 0.13)})),
    "seetrue": tuple(
        _rows(
            POSTER,
            ("nli",),
            {
                f"{_B32} openai": (0.605,),
                f"{_H14} {_LAION}": (0.660,),
                "MiniGPT-v2": (0.560,),
                "LLaVA-1.5-7B": (0.173,),
                "PaLI-5B": (0.226,),
                "PaLI-5B, fine-tuned": (0.765,),
                "PaLI-17B, fine-tuned": (0.785,),
            },
        )
    ),
    "imagenet": _classes(
        (62.05, 66.74, 73.48),
        (63.37, 68.37, 75.52),
        (63.01, 68.04, 75.03),
        (63.30, 68.12, 75.31),
        (64.37, 69.61, 76.62),
        (66.84, 71.08, 77.32),
        (0.07, 0.05, 0.03),
    )
    + _templates(68.4, 66.8, 75.5, 73.5),
    "imagenetv2": _shifted(60.83, 61.90, 63.27, 64.71),
    "imagenet-r": _shifted(73.96, 77.40, 77.10, 78.06),
    "imagenet-s": _shifted(46.15, 47.87, 48.80, 50.18),
    "imagenet-a": _shifted(47.77, 49.00, 50.77, 56.13),
    "cub": _classes(
        (51.21, 56.01, 62.12),
        (52.74, 56.16, 62.53),
        (52.69, 57.08, 63.26),
        (52.04, 56.89, 62.27),
        (49.76, 56.42, 62.15),
        (56.91, 59.78, 65.24),
        (0.17, 0.15, 0.12),
    ),
    "oxford_pet": _classes(
        (85.04, 88.14, 93.24),
        (87.38, 89.10, 93.62),
        (84.46, 87.52, 93.30),
        (85.50, 86.51, 91.55),
        (87.03, 91.14, 94.33),
        (89.89, 92.23, 94.66),
        (0.09, 0.10, 0.09),
    ),
    "dtd": _classes(
        (42.93, 42.98, 52.61),
        (43.83, 45.27, 55.43),
        (44.20, 46.17, 55.05),
        (42.98, 44.68, 54.31),
        (47.50, 50.53, 60.59),
        (49.39, 52.79, 61.78),
        (0.16, 0.17, 0.16),
    ),
    "food101": _classes(
        (82.60, 88.40, 92.55),
        (83.93, 88.83, 93.07),
        (84.12, 88.85, 93.03),
        (83.98, 89.06, 93.33),
        (84.20, 88.98, 93.37),
        (86.40, 90.01, 93.96),
        (0.05, 0.04, 0.04),
    ),
    "place365": _classes(
        (38.51, 39.27, 39.63),
        (39.28, 40.30, 40.55),
        (39.90, 40.34, 40.55),
        (39.47, 40.76, 40.89),
        (39.08, 39.83, 40.77),
        (40.66, 41.43, 42.23),
        (0.05, 0.05, 0.03),
    ),
    "cifar10": _templates(90.8, 90.7, 95.5, 95.3),
    "cifar100": _templates(67.3, 69.3, 76.8, 78.5),
    "sdci": _percent(
        SPECS,
        ("positive", "negative", "average"),
        {
            f"CLIP {_B32}": (62.61, 68.28, 65.44),
            "Long-CLIP": (60.12, 69.93, 65.02),
            "SigLIP": (58.56, 76.28, 67.42),
            "NegCLIP": (54.96, 78.84, 66.90),
            "LaCLIP": (60.98, 68.82, 64.90),
            "TripletCLIP": (53.34, 70.20, 61.77),
            "Long-CLIP-B-32, theirs": (58.64, 77.03, 67.83),
            "SPECS": (95.37, 90.37, 92.87),
        },
    ),
    "urban1k": _percent(
        f"{LONG_CLIP}, {HIMO}",
        ("r1_image_to_text", "r1_text_to_image"),
        {
            f"CLIP {_B16}": (68.1, 53.6),
            "Long-CLIP-B": (78.9, 79.5),
            f"CLIP {_L14}": (68.7, 52.8),
            "Long-CLIP-L": (82.7, 86.1),
            f"HiMo-CLIP {_L14}": (93.0, 93.1),
        },
    ),
    "coco2017": _percent(
        f"{LONG_CLIP}, {HIMO}",
        ("r1_image_to_text", "r1_text_to_image"),
        {
            f"CLIP {_B16}": (51.8, 32.7),
            "Long-CLIP-B": (57.6, 40.4),
            f"CLIP {_L14}": (56.1, 35.4),
            "Long-CLIP-L": (62.8, 46.3),
        },
    ),
}
"""Data set → its numbers, in the order in which they are shown."""
