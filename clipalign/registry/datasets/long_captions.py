"""Long captions, to judge by and to train on."""

from __future__ import annotations

from typing import Final

from clipalign.registry.datasets.row import UNTRIED, DataFile, DatasetRow

LONG_CAPTIONS: Final = (
    DatasetRow(
        "sdci",
        "sDCI of SPECS: pictures with ten captions of growing detail, and false ones",
        licence="CC-BY-NC-4.0 (its source, DCI)",
        licence_class="non-commercial",
        page="https://huggingface.co/Xiaohud/SPECS",
        files=(DataFile("test", repo="Xiaohud/SPECS", source="test", pattern="test/*", kinds=("dataset", "model")),),
        note=UNTRIED,
    ),
    DatasetRow(
        "urban1k",
        "Urban1k: 1,000 pictures of cities with long captions",
        licence="CC-BY-NC-4.0",
        licence_class="non-commercial",
        page="https://huggingface.co/datasets/BeichenZhang/Urban1k",
        files=(
            DataFile(
                "Urban1k.zip",
                repo="BeichenZhang/Urban1k",
                source="Urban1k.zip",
                about_bytes=80_600_000,
                gives=("Urban1k",),
            ),
        ),
        note=UNTRIED,
    ),
    DatasetRow(
        "sharegpt4v",
        "ShareGPT4V: 1.2 million long captions to train on; their pictures are the user's",
        licence="CC-BY-NC-4.0",
        licence_class="non-commercial",
        page="https://huggingface.co/datasets/Lin-Chen/ShareGPT4V",
        files=(
            DataFile(
                "share-captioner_coco_lcs_sam_1246k_1107.json",
                repo="Lin-Chen/ShareGPT4V",
                source="share-captioner_coco_lcs_sam_1246k_1107.json",
                about_bytes=1_490_000_000,
            ),
        ),
        note=UNTRIED,
    ),
    DatasetRow(
        "dci",
        "Densely Captioned Images: to train on",
        licence="CC-BY-NC-4.0; pictures of SA-1B after registration",
        licence_class="consent or account",
        page="https://github.com/facebookresearch/DCI",
        files=(
            DataFile(
                "annotations",
                by_hand="follow https://github.com/facebookresearch/DCI: its annotations as a folder, and the "
                "pictures of SA-1B, part 0, after registration at Meta",
            ),
        ),
    ),
)
