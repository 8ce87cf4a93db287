"""Results made by hand, for tests of what is shown."""

from __future__ import annotations

from dataclasses import replace

from clipalign.eval_results import EvalResult, Metric, Published
from clipalign.results import DetectResult, Provenance, WordScore

PROVENANCE = Provenance(
    model="ViT-H-14",
    architecture="ViT-H-14",
    weights_sha256="9a78ef8e8c73fd0df621682e7a8e8eb36c6916cb3c16b291a082ecd52ab79cc4",
    quick_gelu=False,
    device="cpu",
    precision="fp32",
    seed=0,
    versions={"clipalign": "0.1.0", "torch": "2.13.0", "open_clip": "3.3.0", "pillow": "12.0.0"},
    settings={"mode": "threshold", "epsilon": -5e-5, "layers": 3, "template": "A photo depicts ", "batch_size": 32},
)


def words_of(text: str, *attributions: float | None, epsilon: float = -5e-5) -> tuple[WordScore, ...]:
    """The words between the spaces of ``text`` with these attributions; None for one that was not scored."""
    words, position = [], 0
    for word, value in zip(text.split(), attributions, strict=True):
        start = text.index(word, position)
        position = start + len(word)
        words.append(WordScore(word, start, position, value, value is not None and value < epsilon, value is not None))
    return tuple(words)


def result_of(text: str, *attributions: float | None, **changes: object) -> DetectResult:
    """A consistent result for ``text``."""
    words = words_of(text, *attributions)
    wrong = sorted((w for w in words if w.misaligned), key=lambda w: w.attribution or 0.0)
    total = sum(w.attribution or 0.0 for w in wrong)
    result = DetectResult(
        id="cup.jpg",
        image="cup.jpg",
        text=text,
        model="ViT-H-14",
        cosine=0.20984,
        clip_score=0.5246,
        f_clip_score=total * (1 - 0.5246 / 2.5),
        sum_negative_attribution=total,
        misaligned=tuple(word.text for word in wrong),
        words=words,
        n_tokens=len(words) + 5,
        truncated=any(value is None for value in attributions),
        provenance=PROVENANCE,
    )
    return replace(result, **changes)  # type: ignore[arg-type]


COKE = result_of("a cup of coke", -3.68e-05, 0.000210, 5.72e-05, -0.000444)
"""The published example of CLIP4DM with ViT-H-14."""

EVALUATION = EvalResult(
    dataset="foil",
    model="ViT-B-32",
    metrics=(
        Metric("la", 0.8123, 5000, 0.80, 0.824, chance=0.1),
        Metric("ap_clip_score", 0.7071, 10000, 0.70, 0.715, chance=0.5),
        Metric("pairs_ranked_right", 0.9, 5000),
    ),
    published=(
        Published("la", 0.81, "ViT-B/32", "CLIP4DM table 2"),
        Published("la", 0.85, "ViT-H/14", "CLIP4DM table 2"),
    ),
    counts={"samples": 10000, "unreadable": 3},
    settings={"limit": None, "seed": 0},
    provenance=PROVENANCE,
    notes=("a part of the data set",),
)
