"""What classify reads about classes: sentences, lists of names, words."""

from __future__ import annotations

from typing import Final

from clipalign.registry.datasets.row import UNTRIED, DataFile, DatasetRow

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
        licence="MIT",
        licence_class="free",
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
        licence="not stated",
        licence_class="none stated",
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
