"""Published numbers, typed a second time from the posters, repositories and papers, must be those of published.toml."""

from __future__ import annotations

from collections.abc import Iterator

from clipalign.evaluation.published import PUBLISHED

POSTER = "CLIP4DM's poster (AAAI 2025)"
SCORES = "la ap_f_clip_score ap_clip_score ap_ref_clip_score"
BOTH_WAYS = "r1_image_to_text r1_text_to_image"

TABLES = (
    ("foil", POSTER, 1, SCORES, """
        ViT-B/32 openai: .73 .71 .71 .75
        ViT-H/14 laion2b: .84 .81 .76 -
        ALOHa: .40 .61 - -"""),
    ("nocaps-foil", POSTER, 1, SCORES, """
        ViT-B/32 openai: .60 .69 .69 .74
        ViT-H/14 laion2b: .72 .80 .72 -
        ALOHa: .45 .70 - -"""),
    ("nocaps-foil", f"{POSTER}, backbones", 1, "la ap_f_clip_score", """
        ViT-B/32 openai: .602 .723
        ViT-B/32 laion2b: .667 .760
        ViT-B/16 openai: .679 .747
        ViT-L/14 openai: .653 .781
        ViT-L/14 laion2b: .728 .796
        ViT-H/14 laion2b: .716 .806
        ViT-g/14 laion2b: .706 .806"""),
    ("nocaps-foil", f"{POSTER}, components of F-CLIPScore", 1,
     "ap_clip_score ap_sum_negative_attribution ap_f_clip_score", "ViT-H/14 laion2b: .722 .776 .794"),
    ("nocaps-foil", f"{POSTER}, gradients", 1, "la ap_f_clip_score", """
        ViT-H/14 laion2b: .716 .794
        ViT-H/14 laion2b, negative gradients alone: .698 .779"""),
    ("nocaps-foil", f"{POSTER}, read off its plot of layers", 1, "la ap_f_clip_score", """
        ViT-H/14 laion2b, layers 1: .675 .745
        ViT-H/14 laion2b, layers 3: .716 .795
        ViT-H/14 laion2b, layers 12: .727 .790
        ViT-H/14 laion2b, layers 24: .722 .795"""),
    ("hat", POSTER, 1, SCORES, """
        ViT-B/32 openai: .19 .36 .39 .43
        ViT-H/14 laion2b: .35 .36 - -
        ALOHa: .20 .49 - -"""),
    ("richhf", POSTER, 1, "f1 precision recall pearson_f_clip_score spearman_f_clip_score", """
        ViT-H/14 laion2b: .43 .37 .52 .37 .43
        ViT-H/14 laion2b, epsilon -5e-5: .31 .49 .23 - -
        ViT-B/32 openai: .40 .33 .50 .28 .33
        ALOHa: .34 .31 .39 - -
        PickScore: - - - .35 .34
        Rich-HF, fine-tuned, multi-head: .43 .63 .33 .49 .50
        Rich-HF, fine-tuned, augmented prompt: .44 .61 .341 .47 .50"""),
    ("richhf", POSTER, 1, "pearson_clip_score spearman_clip_score", """
        ViT-B/32 openai: .19 .13
        ViT-B/32, fine-tuned: .40 .39"""),
    ("richhf", f"{POSTER}, components of F-CLIPScore", 1, "pearson_clip_score spearman_clip_score "
     "pearson_sum_negative_attribution spearman_sum_negative_attribution pearson_f_clip_score spearman_f_clip_score",
     "ViT-H/14 laion2b: .171 .085 .352 .419 .368 .433"),
    ("seetrue", POSTER, 1, "nli", """
        ViT-B/32 openai: .605
        ViT-H/14 laion2b: .660
        MiniGPT-v2: .560
        PaLI-5B: .226
        PaLI-5B, fine-tuned: .765
        PaLI-17B, fine-tuned: .785"""),
    ("sdci", "SPECS repository, model zoo", 100, "positive negative average", """
        CLIP ViT-B/32: 62.61 68.28 65.44
        Long-CLIP: 60.12 69.93 65.02
        SigLIP: 58.56 76.28 67.42
        NegCLIP: 54.96 78.84 66.90
        DCI: 55.68 63.63 59.66
        DAC: 46.84 66.88 56.86
        LaCLIP: 60.98 68.82 64.90
        TripletCLIP: 53.34 70.20 61.77
        Long-CLIP-B-32, theirs: 58.64 77.03 67.83
        SPECS: 95.37 90.37 92.87"""),
    ("urban1k", "Long-CLIP paper, HiMo-CLIP repository", 100, BOTH_WAYS, """
        CLIP ViT-B/16: 68.1 53.6
        Long-CLIP-B: 78.9 79.5
        HiMo-CLIP ViT-B/16: 89.2 89.6
        CLIP ViT-L/14: 68.7 52.8
        Long-CLIP-L: 82.7 86.1
        HiMo-CLIP ViT-L/14: 93.0 93.1"""),
    ("docci", "HiMo-CLIP repository", 100, BOTH_WAYS, """
        CLIP ViT-B/16: 58.5 58.2
        Long-CLIP-B: 63.2 71.5
        HiMo-CLIP ViT-B/16: 77.8 79.9
        CLIP ViT-L/14: 57.5 60.7
        Long-CLIP-L: 66.5 78.6
        HiMo-CLIP ViT-L/14: 82.4 84.4"""),
    ("flickr30k", "HiMo-CLIP repository", 100, BOTH_WAYS, """
        CLIP ViT-B/16: 83.3 61.9
        Long-CLIP-B: 87.3 70.7
        HiMo-CLIP ViT-B/16: 88.4 72.1
        CLIP ViT-L/14: 86.1 66.0
        Long-CLIP-L: 89.0 76.7
        HiMo-CLIP ViT-L/14: 92.5 78.2"""),
    ("coco2017", "Long-CLIP paper, HiMo-CLIP repository", 100, BOTH_WAYS, """
        CLIP ViT-B/16: 51.8 32.7
        Long-CLIP-B: 57.6 40.4
        HiMo-CLIP ViT-B/16: 60.6 40.8
        CLIP ViT-L/14: 56.1 35.4
        Long-CLIP-L: 62.8 46.3
        HiMo-CLIP ViT-L/14: 65.1 47.2"""),
    ("coco2017", "Long-CLIP repository, model zoo", 100, BOTH_WAYS, """
        Long-CLIP-B: 57.2 40.4
        Long-CLIP-L: 58.3 45.1"""),
    *((name, "Long-CLIP paper", 100, "top1_clip_e", f"""
        CLIP ViT-B/16: {numbers[0]}
        Long-CLIP-B: {numbers[1]}
        CLIP ViT-L/14: {numbers[2]}
        Long-CLIP-L: {numbers[3]}""") for name, numbers in (
        ("imagenet", (68.4, 66.8, 75.5, 73.5)), ("cifar10", (90.8, 90.7, 95.5, 95.3)),
        ("cifar100", (67.3, 69.3, 76.8, 78.5)))),
    *((name, "WCA repository, DG_results.png", 100, "top1_clip top1_clip_e top1_cupl top1_wca", f"ViT-B/16: {numbers}")
      for name, numbers in (
        ("imagenetv2", "60.83 61.90 63.27 64.71"), ("imagenet-r", "73.96 77.40 77.10 78.06"),
        ("imagenet-s", "46.15 47.87 48.80 50.18"), ("imagenet-a", "47.77 49.00 50.77 56.13"))),
    ("ohd-caps", "OHD-Caps (Liu et al., 2024), as reported", 100, "pair_accuracy", "CLIP ViT-L/14: 19"),
    ("himo-docci", "HiMo-CLIP (arXiv 2511.06653), as reported", 1, "monotonicity", """
        CLIP: 0.43
        Long-CLIP: -0.55"""),
)  # fmt: skip
"""Data set, source, what one is, metrics, and a line a backbone or method."""

WCA_SETS = ("imagenet", "cub", "oxford_pet", "dtd", "food101", "place365")
WCA = """
clip    62.05/66.74/73.48 51.21/56.01/62.12 85.04/88.14/93.24 42.93/42.98/52.61 82.60/88.40/92.55 38.51/39.27/39.63
clip_e  63.37/68.37/75.52 52.74/56.16/62.53 87.38/89.10/93.62 43.83/45.27/55.43 83.93/88.83/93.07 39.28/40.30/40.55
clip_d  63.01/68.04/75.03 52.69/57.08/63.26 84.46/87.52/93.30 44.20/46.17/55.05 84.12/88.85/93.03 39.90/40.34/40.55
waffle  63.30/68.12/75.31 52.04/56.89/62.27 85.50/86.51/91.55 42.98/44.68/54.31 83.98/89.06/93.33 39.47/40.76/40.89
cupl    64.37/69.61/76.62 49.76/56.42/62.15 87.03/91.14/94.33 47.50/50.53/60.59 84.20/88.98/93.37 39.08/39.83/40.77
wca     66.84/71.08/77.32 56.91/59.78/65.24 89.89/92.23/94.66 49.39/52.79/61.78 86.40/90.01/93.96 40.66/41.43/42.23
wca_std 0.07/0.05/0.03    0.17/0.15/0.12    0.09/0.10/0.09    0.16/0.17/0.16    0.05/0.04/0.04    0.05/0.05/0.03
"""
"""As results.png prints it: ViT-B/32, ViT-B/16, ViT-L/14 of each set."""

Number = tuple[str, str, str, str, float]


def typed() -> Iterator[Number]:
    """Data set, metric, backbone, source, share."""
    for dataset, source, whole, metrics, lines in TABLES:
        for line in lines.strip().splitlines():
            backbone, _, values = line.strip().rpartition(": ")
            for metric, value in zip(metrics.split(), values.split(), strict=True):
                if value != "-":
                    yield dataset, metric, backbone, source, round(float(value) / whole, 6)
    for line in WCA.strip().splitlines():
        method, *columns = line.split()
        for dataset, column in zip(WCA_SETS, columns, strict=True):
            for backbone, value in zip(("ViT-B/32", "ViT-B/16", "ViT-L/14"), column.split("/"), strict=True):
                yield dataset, f"top1_{method}", backbone, "WCA repository, results.png", round(float(value) / 100, 6)


def test_every_number_is_the_published_one_with_its_source_and_none_is_missing() -> None:
    stored = [
        (dataset, one.metric.removeprefix("published_"), one.backbone, one.source, one.value)
        for dataset, numbers in PUBLISHED.items()
        for one in numbers
    ]
    assert sorted(stored) == sorted(typed())
    assert len(set(stored)) == len(stored)
