"""What is known of a data set: what it is made of, where that is published, under which license.

A file comes from an address, from a repository of the Hub, from all files of a repository that fit a pattern, or from
the user's own hands. Everything lands in the data set's own folder. Where nobody could try an address yet, its row says
so: a fetch that does not match is then told in plain words, by the hash where there is one. Hashes are the publishers'.

Pictures of which the class is known.

What classify reads about classes: sentences, lists of names, words.

Long captions, to judge by and to train on.

Captions whose wrong words are known, and COCO's pictures, which some of them are about.

The table of data sets, family by family, and the way to a row by its name.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final

from clipalign.download.licenses import LicenseClass
from clipalign.errors import UnknownDataset

UNTRIED: Final = "address from the publisher's pages, not tried yet"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a data set, or several of one kind.

    Attributes:
        path: where it lands in the data set's folder; a folder, where ``pattern`` is set.
        url: its address.
        repo: of the Hub, ``owner/name``, instead of an address.
        source: path in ``repo``; a folder, where ``pattern`` is set.
        pattern: of paths in ``repo``, for several files.
        kinds: of repository, in the order they are tried: ``dataset``, ``model``.
        sha256: in lower-case hexadecimal; empty where it is not on record.
        md5: for what is published with that.
        size_bytes: exact; 0 where unknown.
        about_bytes: for lists, where the exact size is unknown.
        gives: paths in the data set's folder that are there when an archive is unpacked; empty for what is no archive.
        into: folder that an archive is unpacked into, in the data set's own.
        by_hand: how to come by it, where it cannot be fetched; a sentence without final stop.
    """

    path: str
    url: str = ""
    repo: str = ""
    source: str = ""
    pattern: str = ""
    kinds: tuple[str, ...] = ("dataset",)
    sha256: str = ""
    md5: str = ""
    size_bytes: int = 0
    about_bytes: int = 0
    gives: tuple[str, ...] = ()
    into: str = ""
    by_hand: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures fetched one by one, as a file of the data set lists them.

    Attributes:
        listed_in: JSON with ``images``, each with ``file_name`` and ``coco_url``.
        needed_by: JSON whose rows name, as ``image_path``, those that are needed.
        into: folder they land in.
    """

    listed_in: str
    needed_by: str
    into: str


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A data set by name.

    Attributes:
        name: in lower case.
        title: one line for lists.
        license: in words, or SPDX.
        license_class: what it allows.
        page: where it is described.
        files: in the order they are fetched.
        needs: other data sets it is of no use without.
        pictures: fetched one by one, after the files.
        note: what a user must know about it.
    """

    name: str
    title: str
    license: str
    license_class: LicenseClass
    page: str
    files: tuple[DataFile, ...] = ()
    needs: tuple[str, ...] = ()
    pictures: Pictures | None = None
    note: str = ""

    @property
    def size_bytes(self) -> int:
        """Of all files, where known; ``pictures`` are not counted."""
        return sum(file.size_bytes or file.about_bytes for file in self.files)


CLASSES: Final = (
    DatasetRow(
        "imagenet",
        "ImageNet 2012, the 50,000 pictures for validation",
        license="for research, after registration",
        license_class="consent or account",
        page="https://image-net.org/download.php",
        files=(
            DataFile(
                "ILSVRC2012_img_val.tar",
                md5="29b22e2961454d5413ddabcf34fc5622",
                about_bytes=6_744_924_160,
                gives=("val",),
                into="val",
                by_hand="register at https://image-net.org and save ILSVRC2012_img_val.tar, the validation images of "
                "2012",
            ),
            DataFile(
                "ILSVRC2012_devkit_t12.tar.gz",
                md5="fa75699e90414af021442c21a62c3abf",
                about_bytes=2_568_145,
                gives=("ILSVRC2012_devkit_t12",),
                by_hand="save ILSVRC2012_devkit_t12.tar.gz, the development kit of tasks 1 and 2, from the same page",
            ),
        ),
    ),
    DatasetRow(
        "imagenetv2",
        "ImageNetV2, matched frequency: 10,000 pictures",
        license="MIT",
        license_class="free",
        page="https://huggingface.co/datasets/vaishaal/ImageNetV2",
        files=(
            DataFile(
                "imagenetv2-matched-frequency.tar.gz",
                repo="vaishaal/ImageNetV2",
                source="imagenetv2-matched-frequency.tar.gz",
                sha256="f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
                about_bytes=1_260_000_000,
                gives=("imagenetv2-matched-frequency-format-val",),
            ),
        ),
    ),
    DatasetRow(
        "imagenet-a",
        "ImageNet-A: pictures that mislead a classifier, 200 classes",
        license="MIT",
        license_class="free",
        page="https://github.com/hendrycks/natural-adv-examples",
        files=(
            DataFile(
                "imagenet-a.tar",
                url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar",
                sha256="3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
                about_bytes=690_000_000,
                gives=("imagenet-a",),
            ),
        ),
    ),
    DatasetRow(
        "imagenet-r",
        "ImageNet-R: renditions, 200 classes",
        license="MIT",
        license_class="free",
        page="https://github.com/hendrycks/imagenet-r",
        files=(
            DataFile(
                "imagenet-r.tar",
                url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
                sha256="18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
                about_bytes=2_190_000_000,
                gives=("imagenet-r",),
            ),
        ),
    ),
    DatasetRow(
        "imagenet-s",
        "ImageNet-Sketch: drawings in black and white",
        license="not stated",
        license_class="none stated",
        page="https://huggingface.co/datasets/songweig/imagenet_sketch",
        files=(
            DataFile(
                "ImageNet-Sketch.zip",
                repo="songweig/imagenet_sketch",
                source="data/ImageNet-Sketch.zip",
                about_bytes=7_600_000_000,
                gives=("sketch",),
            ),
        ),
        note=f"WCA's README links another set of the same letter; {UNTRIED}",
    ),
    DatasetRow(
        "cub",
        "CUB-200-2011: birds of 200 species",
        license="for research that is not commercial",
        license_class="non-commercial",
        page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        files=(
            DataFile(
                "CUB_200_2011.tgz",
                url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
                md5="97eceeb196236b17998738112f37df78",
                about_bytes=1_150_000_000,
                gives=("CUB_200_2011",),
            ),
        ),
    ),
    DatasetRow(
        "dtd",
        "Describable Textures: 47 kinds of texture",
        license="for research",
        license_class="non-commercial",
        page="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        files=(
            DataFile(
                "dtd-r1.0.1.tar.gz",
                url="https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
                md5="fff73e5086ae6bdbea199a49dfb8a4c1",
                about_bytes=625_000_000,
                gives=("dtd/dtd/images", "dtd/dtd/labels"),
                into="dtd",
            ),
        ),
    ),
    DatasetRow(
        "food101",
        "Food-101: dishes",
        license="not stated",
        license_class="none stated",
        page="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        files=(
            DataFile(
                "food-101.tar.gz",
                url="http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                md5="85eeb15f3717b99a5da872d97d918f87",
                about_bytes=5_000_000_000,
                gives=("food-101/images", "food-101/meta"),
            ),
        ),
    ),
    DatasetRow(
        "oxford_pet",
        "Oxford-IIIT Pets: 37 breeds of cats and dogs",
        license="CC-BY-SA-4.0",
        license_class="free",
        page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        files=(
            DataFile(
                "images.tar.gz",
                url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
                md5="5c4f3ee8e5d25df40f4fd59a7f44e54c",
                about_bytes=792_000_000,
                gives=("oxford-iiit-pet/images",),
                into="oxford-iiit-pet",
            ),
            DataFile(
                "annotations.tar.gz",
                url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
                md5="95a8c909bbe2e81eed6a22bccdf3f68f",
                about_bytes=19_000_000,
                gives=("oxford-iiit-pet/annotations",),
                into="oxford-iiit-pet",
            ),
        ),
    ),
    DatasetRow(
        "place365",
        "Places365, 36,500 small pictures for validation",
        license="for research and teaching that is not commercial",
        license_class="non-commercial",
        page="http://places2.csail.mit.edu/download.html",
        files=(
            DataFile(
                "val_256.tar",
                url="http://data.csail.mit.edu/places/places365/val_256.tar",
                md5="e27b17d8d44f4af9a78502beb927f808",
                about_bytes=525_000_000,
                gives=("val_256",),
            ),
            DataFile(
                "filelist_places365-standard.tar",
                url="http://data.csail.mit.edu/places/places365/filelist_places365-standard.tar",
                md5="35a0585fee1fa656440f3ab298f8479c",
                about_bytes=68_000_000,
                gives=("places365_val.txt", "categories_places365.txt"),
            ),
        ),
    ),
    DatasetRow(
        "cifar10",
        "CIFAR-10: ten kinds of things, 32 pixels",
        license="not stated",
        license_class="none stated",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        files=(
            DataFile(
                "cifar-10-python.tar.gz",
                url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                md5="c58f30108f718f92721af3b95e74349a",
                about_bytes=170_000_000,
                gives=("cifar-10-batches-py",),
            ),
        ),
    ),
    DatasetRow(
        "cifar100",
        "CIFAR-100: a hundred kinds of things, 32 pixels",
        license="not stated",
        license_class="none stated",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        files=(
            DataFile(
                "cifar-100-python.tar.gz",
                url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
                md5="eb9058c3a382ffc7106e4002c42a8d85",
                about_bytes=169_000_000,
                gives=("cifar-100-python",),
            ),
        ),
    ),
)


_WCA: Final = "https://raw.githubusercontent.com/JinhaoLee/WCA/420bba03c8ade32014948f93b470c7ac820e1ae2"

_WCA_FILES: Final = (
    ("prompts/cub/clip-d.json", 49292, "983966040fd8747d89ee9b0f311eeab3b5f4b318e062dd0529c9bb57e2282597"),
    ("prompts/cub/clip-e.json", 42, "dc272440a937800e58e0dcd9ffd77c8ecaad00e6c585e51b420ffa48cefc60f3"),
    ("prompts/cub/cupl.json", 720710, "c18b307f05d30513b94cf2a15905808c1236432212b9fee572cf8c992eeb16b2"),
    ("prompts/dtd/clip-d.json", 9389, "3bb97a62ef38ab3daaee15afdd1cacf1ad8706d7c8a92e35c127a9fca9aa1ce4"),
    ("prompts/dtd/clip-e.json", 260, "d4f918a2bb9481b7c838c5641b1e45855de3497a531d689902cbb0fd22d081bc"),
    ("prompts/dtd/cupl.json", 183176, "82f41f19f8626378cbebc9cf092a6a483e29953fededafb0e356283659e5649d"),
    ("prompts/food101/clip-d.json", 22063, "1556bae208439f373fc6a966f43b163f2d1698811ff7f84861635010499a0166"),
    ("prompts/food101/clip-e.json", 40, "31f4a8dd66574f47a60d18d9dc401eebfe7e817339e5171e12712bc3e51c39c9"),
    ("prompts/food101/cupl.json", 324576, "67cb17f323b7f0726e4b152224365fda289658ff92b0d14ee264910a16af96dc"),
    ("prompts/imagenet/clip-d.json", 244431, "0c478db8b74046ca185488f252c908420bcea585198c7bceb4e42386cc1f7d3a"),
    ("prompts/oxford_pet/clip-d.json", 8450, "70621f48ae4d823624732d26d8f125c4c6d848507878515cff96e935fe872208"),
    ("prompts/oxford_pet/clip-e.json", 41, "c88d1dfb07fa14c37cd6617c908d35a414e3d29f778bc398c18280e22f4dccb4"),
    ("prompts/oxford_pet/cupl.json", 109045, "a4c136a8adaf85646d6fc0a1cb7cfd75c12b6da33ef235ad55dd1247138a7e08"),
    ("prompts/place365/clip-d.json", 85707, "aa35beea77718ef7e9afecf66a0c49b23fcbd4064f3027dc29d6701649c6efd6"),
    ("prompts/place365/clip-e.json", 86, "ddcd1ee582caf857285d464c6c66113bdbec5ce4680635a6a96efb659e4594a4"),
    ("prompts/place365/cupl.json", 679825, "9dc552f72139c4e6f0de7bfcdec0045dc5b2bb2b608e4a615434f81309cfc59d"),
    ("features/cub/cub.json", 4131, "d3211c78e29c4cce5d895a5114caf21cc57a2628ade8c929ecd472ca554cbb08"),
    ("features/dtd/dtd.json", 535, "a63a5d4efba346bb4bc2da3163e302211b883119f87bf4ee087de7c423690786"),
    ("features/food101/food101.json", 1487, "5fe131d62e5615a9f1a70631976a59b93a7c0951af14dc835ee2573aaa4b95f7"),
    ("features/imagenet/imagenet.json", 28395, "5ec8d03d56dc5a11ea860d9fe785b486a0a86fb0b3404869711fb43e35f3c9c5"),
    ("features/oxford_pet/oxford_pet.json", 616, "1d1fdfb59c721754ddf14a5dbaba5519959ba174f221726973045fe1fe3943ae"),
    ("features/place365/place365.json", 4911, "dd33b504088641b555267ae48108e5364c9374b5af6fda6b375829508ff01c7b"),
)
"""Path in the repository, size and SHA-256."""

_WCA_IMAGENET: Final = "prompts/imagenet/cupl.json"
"""Of the same commit; its hash is not on record."""

DESCRIPTIONS: Final = (
    DatasetRow(
        "wca-descriptions",
        "WCA's published descriptions and class lists, for classify",
        license="MIT",
        license_class="free",
        page="https://github.com/JinhaoLee/WCA",
        files=(
            *(
                DataFile(path, url=f"{_WCA}/{path}", sha256=sha256, size_bytes=size)
                for path, size, sha256 in _WCA_FILES
            ),
            DataFile(_WCA_IMAGENET, url=f"{_WCA}/{_WCA_IMAGENET}", about_bytes=2_500_000),
        ),
        note=UNTRIED,
    ),
    DatasetRow(
        "waffle-words",
        "words for classify --method waffle, one a line",
        license="not stated",
        license_class="none stated",
        page="https://github.com/JinhaoLee/WCA",
        files=(
            DataFile(
                "waffle_words.txt",
                by_hand="take any list of English words, one a line in UTF-8; WCA's own is a pickle, which is never "
                "loaded here",
            ),
        ),
    ),
)


LONG_CAPTIONS: Final = (
    DatasetRow(
        "sdci",
        "sDCI of SPECS: pictures with ten captions of growing detail, and false ones",
        license="CC-BY-NC-4.0 (its source, DCI)",
        license_class="non-commercial",
        page="https://huggingface.co/Xiaohud/SPECS",
        files=(DataFile("test", repo="Xiaohud/SPECS", source="test", pattern="test/*", kinds=("dataset", "model")),),
        note=UNTRIED,
    ),
    DatasetRow(
        "urban1k",
        "Urban1k: 1,000 pictures of cities with long captions",
        license="CC-BY-NC-4.0",
        license_class="non-commercial",
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
        license="CC-BY-NC-4.0",
        license_class="non-commercial",
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
        license="CC-BY-NC-4.0; pictures of SA-1B after registration",
        license_class="consent or account",
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


_COCO: Final = "CC-BY-4.0 (annotations); pictures under the terms of Flickr's users"
_ALOHA: Final = "https://raw.githubusercontent.com/DavidMChan/aloha/7da6b90ebe392228ea532a84d78eab830c2b3cb2/data"

WORDS: Final = (
    DatasetRow(
        "coco-val2014",
        "40,504 pictures and their captions; what foil and hat are about",
        license=_COCO,
        license_class="none stated",
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
        license=_COCO,
        license_class="none stated",
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
        license="not stated",
        license_class="none stated",
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
        license="not stated (captions); CC-BY-2.0 (pictures)",
        license_class="none stated",
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
        license="not stated",
        license_class="none stated",
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
        license="not stated",
        license_class="none stated",
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
        license="CC-BY-4.0; for research, and testing only",
        license_class="consent or account",
        page="https://huggingface.co/datasets/mismatch-quest/SeeTRUE-Feedback",
        files=(DataFile(".", repo="mismatch-quest/SeeTRUE-Feedback", source="", pattern="*test*.parquet"),),
        note=f"accept its conditions on its page, then set HF_TOKEN; {UNTRIED}",
    ),
)


DATASETS: Final[dict[str, DatasetRow]] = {row.name: row for row in (*WORDS, *CLASSES, *LONG_CAPTIONS, *DESCRIPTIONS)}
"""Name to row, in the order of lists."""


def dataset_names() -> list[str]:
    """All names, in the order of lists."""
    return list(DATASETS)


def find_dataset(name: str) -> DatasetRow:
    """The row of that name.

    Raises:
        UnknownDataset: there is none; the hint names the nearest.
    """
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name.lower(), DATASETS, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(DATASETS)}"
    raise UnknownDataset(f"unknown data set {name!r}", hint=hint, input=name)
