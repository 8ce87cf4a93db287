"""Pictures of which the class is known."""

from __future__ import annotations

from typing import Final

from clipalign.registry.datasets.row import UNTRIED, DataFile, DatasetRow

CLASSES: Final = (
    DatasetRow(
        "imagenet",
        "ImageNet 2012, the 50,000 pictures for validation",
        licence="for research, after registration",
        licence_class="consent or account",
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
        licence="MIT",
        licence_class="free",
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
        licence="MIT",
        licence_class="free",
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
        licence="MIT",
        licence_class="free",
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
        licence="not stated",
        licence_class="none stated",
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
        licence="for research that is not commercial",
        licence_class="non-commercial",
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
        licence="for research",
        licence_class="non-commercial",
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
        licence="not stated",
        licence_class="none stated",
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
        licence="CC-BY-SA-4.0",
        licence_class="free",
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
        licence="for research and teaching that is not commercial",
        licence_class="non-commercial",
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
        licence="not stated",
        licence_class="none stated",
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
        licence="not stated",
        licence_class="none stated",
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
