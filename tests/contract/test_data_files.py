"""The registries that are data: every row of models, data sets and published numbers is what its fields promise."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from clipalign.download.dataset_rows import DATASETS, DatasetRow
from clipalign.download.licenses import FREE, license_class
from clipalign.evaluation.published import PUBLISHED
from clipalign.evaluation.registry import BENCHMARKS, find_benchmark
from clipalign.evaluation.tasks.caption_sets import CaptionSets
from clipalign.files import read_package_rows
from clipalign.models.load import import_open_clip, resolve_tag
from clipalign.models.registry import ROWS, ModelRow, WeightSource, architecture_names

SHARED = Path(__file__).parents[3] / "shared" / "data"


def check(value: Any, kind: Any, place: str) -> None:
    """A value, and all that it holds, is of the type that its field promises."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        assert value in arguments, place
    elif origin in (Union, UnionType):
        check(value, type(None) if value is None else next(one for one in arguments if one is not type(None)), place)
    elif origin is dict:
        assert all(type(key) is arguments[0] and type(one) is arguments[1] for key, one in value.items()), place
    elif origin is tuple:
        assert isinstance(value, tuple), place
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        for inner, inner_kind in zip(value, kinds, strict=True):
            check(inner, inner_kind, place)
    else:
        assert type(value) is kind, f"{place}: {value!r} is no {kind.__name__}"
        if is_dataclass(value):
            hints = get_type_hints(kind)
            for field in fields(value):
                check(getattr(value, field.name), hints[field.name], f"{place}.{field.name}")


@pytest.mark.parametrize("row", [*ROWS.values(), *DATASETS.values()], ids=[*ROWS, *DATASETS])
def test_fields_are_of_their_types(row: ModelRow | DatasetRow) -> None:
    check(row, type(row), row.name)


def test_no_name_stands_twice() -> None:
    files = ("models/models.toml", "download/datasets.toml")
    names = [row["name"].lower() for file in files for row in read_package_rows(file)]
    assert len(set(names)) == len(names) == len(ROWS) + len(DATASETS)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_model_is_complete(row: ModelRow) -> None:
    assert row.weights and row.note and row.commands and license_class(row.license) != "none stated"
    assert row.architecture.endswith(".json") or row.architecture in architecture_names()
    bare = row.architecture.removesuffix("-quickgelu")
    assert not row.tag or row.name in (bare, f"{bare}@{row.tag}")
    assert row.quick_gelu is not None or f"{row.architecture}-quickgelu" not in architecture_names()
    assert (row.mean is None) == (row.std is None)
    for source in row.weights:
        assert source.kind in ("hub", "url", "embedded", "file")
        assert re.fullmatch(r"([0-9a-f]{64})?", source.sha256)
        assert source.kind != "url" or source.sha256 in source.url


def test_open_clip_has_the_weights_of_every_row_with_a_tag() -> None:
    open_clip = import_open_clip()
    for row in ROWS.values():
        if row.tag:
            theirs = resolve_tag(replace(row, tag="", weights=(WeightSource("open_clip", tag=row.tag),))).weights
            assert {(one.repo, one.file, one.url) for one in row.weights} <= {
                (one.repo, one.file, one.url) for one in theirs
            }, row.name
            known = open_clip.get_pretrained_cfg(row.architecture, row.tag)
            config = open_clip.get_model_config(row.architecture)
            assert bool(known.get("quick_gelu")) == bool(config.get("quick_gelu")) == bool(row.quick_gelu), row.name


@pytest.mark.parametrize("row", DATASETS.values(), ids=DATASETS)
def test_a_data_set_is_complete(row: DatasetRow) -> None:
    assert row.name == row.name.lower() and row.title and row.page.startswith("http")
    assert row.license and (row.license_class != "free" or row.license in FREE)
    assert row.files and all(needed in DATASETS for needed in row.needs)
    for file in row.files:
        ways = [bool(file.url), bool(file.repo), bool(file.by_hand)]
        assert sum(ways) == 1, file
        assert not file.path.startswith("/") and ".." not in file.path
        assert re.fullmatch(r"([0-9a-f]{64})?", file.sha256) and re.fullmatch(r"([0-9a-f]{32})?", file.md5)
        if file.url.startswith("http:"):
            assert file.sha256 or file.md5, "an address without https needs a hash"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_keys_of_a_benchmark_are_attributes_of_its_class_and_of_their_types(name: str) -> None:
    benchmark = find_benchmark(name)
    assert benchmark.name == name
    hints = get_type_hints(type(benchmark))
    for key in BENCHMARKS[name].keys() - {"class"}:
        check(getattr(benchmark, key), hints[key], f"{name}.{key}")


def test_a_key_that_its_class_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="CaptionSets has no color"):
        CaptionSets(name="mine", color="red")


def test_published_numbers_are_shares_of_known_data_sets() -> None:
    for name, numbers in PUBLISHED.items():
        assert name in BENCHMARKS
        assert all(0 < abs(number.value) < 1 and number.source and number.backbone for number in numbers)
        assert len({(one.metric, one.backbone, one.source) for one in numbers}) == len(numbers)
    wca = {(one.metric, one.backbone): one.value for one in PUBLISHED["oxford_pet"]}
    assert wca["top1_wca", "ViT-B/16"] == 0.9223
    assert wca["top1_wca_std", "ViT-B/32"] == 0.0009


@pytest.mark.skipif(not SHARED.is_dir(), reason="the files themselves are not there")
def test_hashes_are_those_of_the_real_files() -> None:
    places = {DATASETS[name].files[0]: SHARED / DATASETS[name].files[0].path for name in ("nocaps-foil", "hat")}
    for file in DATASETS["wca-descriptions"].files:
        kind, name, last = file.path.split("/")
        if file.sha256:
            places[file] = SHARED / ("descriptions/" + name if kind == "prompts" else "classes") / last
    folders = {"tifa160": "tifa", "iiw-preferences": "iiw-400"}
    rated = ("thumb", "dsg", "geneval", "himo-docci", "faithscore", *folders)
    for name in ("sugarcrepe", "sugarcrepe-pp", "valse", "ohd-caps", "vsr", *rated):
        folder = SHARED / "eval" / folders.get(name, name)
        places |= {file: folder / file.path for file in DATASETS[name].files}
    for file, path in places.items():
        content = path.read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.size_bytes)
