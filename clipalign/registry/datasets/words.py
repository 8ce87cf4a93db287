"""Captions whose wrong words are known, and COCO's pictures, which some of them are about."""

from __future__ import annotations

from typing import Final

from clipalign.registry.datasets.row import UNTRIED, DataFile, DatasetRow, Pictures

_COCO: Final = "CC-BY-4.0 (annotations); pictures under the terms of Flickr's users"
_ALOHA: Final = "https://raw.githubusercontent.com/DavidMChan/aloha/7da6b90ebe392228ea532a84d78eab830c2b3cb2/data"

WORDS: Final = (
    DatasetRow(
        "coco-val2014",
        "40,504 pictures and their captions; what foil and hat are about",
        licence=_COCO,
        licence_class="none stated",
        page="https://cocodataset.org",
        files=(
            DataFile(
                "val2014.zip",
                url="http://images.cocodataset.org/zips/val2014.zip",
                sha256="fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
                size_bytes=6_645_013_297,
                gives=("val2014",),
            ),
            DataFile(
                "annotations_trainval2014.zip",
                url="http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
                sha256="031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
                about_bytes=253_000_000,
                gives=("annotations/captions_val2014.json",),
            ),
        ),
        note="served without https; the hashes are on record",
    ),
    DatasetRow(
        "coco2017",
        "5,000 pictures with five captions each",
        licence=_COCO,
        licence_class="none stated",
        page="https://cocodataset.org",
        files=(
            DataFile(
                "val2017.zip",
                url="http://images.cocodataset.org/zips/val2017.zip",
                sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                size_bytes=815_585_330,
                gives=("val2017",),
            ),
            DataFile(
                "annotations_trainval2017.zip",
                url="http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
                sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                about_bytes=253_000_000,
                gives=("annotations/captions_val2017.json",),
            ),
        ),
        note="served without https; the hashes are on record",
    ),
    DatasetRow(
        "foil",
        "FOIL: captions with one object swapped",
        licence="not stated",
        licence_class="none stated",
        page="https://foilunitn.github.io",
        files=(
            DataFile(
                "foilv1.0_test_2017.json",
                by_hand="open https://foilunitn.github.io and save the test set behind its Dropbox link, "
                "foilv1.0_test_2017.json",
            ),
        ),
        needs=("coco-val2014",),
    ),
    DatasetRow(
        "nocaps-foil",
        "nocaps-FOIL: 2,500 captions with an object swapped, by domain",
        licence="not stated (captions); CC-BY-2.0 (pictures)",
        licence_class="none stated",
        page="https://github.com/DavidMChan/aloha",
        files=(
            DataFile(
                "nocaps-val-foil.json",
                url=f"{_ALOHA}/nocaps-val-foil.json",
                sha256="ec15966bbaf4ba7faa5cb3eb6a5ebbd4b38bc3345de42b7f0e5f6cc333f642ca",
                size_bytes=2_468_108,
            ),
            DataFile(
                "nocaps_val_4500_captions.json",
                url="https://nocaps.s3.amazonaws.com/nocaps_val_4500_captions.json",
                about_bytes=5_000_000,
            ),
        ),
        pictures=Pictures("nocaps_val_4500_captions.json", needed_by="nocaps-val-foil.json", into="images"),
        note=f"2,500 pictures follow, one by one, about 0.8 GB; {UNTRIED}",
    ),
    DatasetRow(
        "hat",
        "HAT: 400 captions by machines, their wrong words marked",
        licence="not stated",
        licence_class="none stated",
        page="https://github.com/DavidMChan/aloha",
        files=(
            DataFile(
                "hat-trainval.json",
                url=f"{_ALOHA}/hat-trainval.json",
                sha256="18abffb627ef6eb8252e21e2e9bfe55d6431f91056467179d7d17ad87ff8969f",
                size_bytes=548_877,
            ),
        ),
        needs=("coco-val2014",),
        note=f"named trainval, but the papers' test set; {UNTRIED}",
    ),
    DatasetRow(
        "richhf",
        "RichHF-18K, test part: prompts with their misaligned words, on generated pictures",
        licence="not stated",
        licence_class="none stated",
        page="https://github.com/google-research-datasets/richhf-18k",
        files=(
            DataFile(
                "test.tfrecord",
                url="https://media.githubusercontent.com/media/google-research-datasets/richhf-18k/main/test.tfrecord",
                sha256="6819ef72631de3af32904f2af3c990b8be0c9597ef3917b9cf0a799161156049",
                size_bytes=10_112_337,
            ),
            DataFile(
                "pickapic",
                repo="yuvalkirstain/pickapic_v1",
                source="data",
                pattern="data/test-*.parquet",
                about_bytes=5_000_000_000,
            ),
        ),
        note=f"of the pictures' 190 GB only the ten test shards; {UNTRIED}",
    ),
    DatasetRow(
        "seetrue",
        "SeeTRUE-Feedback, test part: captions with a sentence on what is wrong",
        licence="CC-BY-4.0; for research, and testing only",
        licence_class="consent or account",
        page="https://huggingface.co/datasets/mismatch-quest/SeeTRUE-Feedback",
        files=(DataFile(".", repo="mismatch-quest/SeeTRUE-Feedback", source="", pattern="*test*.parquet"),),
        note=f"accept its conditions on its page, then set HF_TOKEN; {UNTRIED}",
    ),
)
