"""Names, descriptions, templates and words beside the pictures: which are found, and which do not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from clipalign.data.class_texts import class_texts
from clipalign.errors import UsageError
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.class_texts import ALPHA_NOTE, read_task
from clipalign.evaluation.tasks.imagenet import imagenet_names
from tests.classified import MAKERS, dataset, lines, make_cub, make_food101, make_place365


@pytest.fixture(autouse=True)
def no_downloads_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the cache of whoever runs the tests must not decide them."""
    monkeypatch.setenv("CLIPALIGN_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_descriptions_beside_the_pictures_serve_every_method(tmp_path: Path) -> None:
    make_food101(tmp_path / "food101")
    prompts = tmp_path / "wca-descriptions/prompts/food101"
    lines(prompts / "cupl.json", json.dumps({"sushi": ["Sushi is rice."], "apple pie": ["Pie has a crust."]}))
    lines(prompts / "clip-d.json", json.dumps({"apple pie": ["a crust"], "sushi": ["rice"]}))
    lines(prompts / "clip-e.json", json.dumps(["a photo of {}, a type of food."]))
    lines(tmp_path / "waffle-words/waffle_words.txt", "lorem", "ipsum")
    task = dataset("food101", tmp_path).task(EvalSettings())
    assert task.names == ("apple pie", "sushi")
    assert list(task.by_method) == ["clip", "clip-e", "clip-d", "waffle", "cupl", "wca"]
    assert task.by_method["clip-e"].templates == ("a photo of {}, a type of food.",)
    assert task.by_method["wca"].descriptions == {"apple pie": ("Pie has a crust.",), "sushi": ("Sushi is rice.",)}
    assert task.notes == (ALPHA_NOTE,)
    assert dataset("food101", tmp_path).task(EvalSettings(method="cupl")).notes == ()


def test_downloaded_descriptions_serve_pictures_that_are_kept_elsewhere(tmp_path: Path) -> None:
    make_food101(tmp_path / "disk/pictures")
    place = tmp_path / "cache/datasets/wca-descriptions/prompts/food101/cupl.json"
    lines(place, json.dumps({"sushi": ["Sushi is rice."], "apple pie": ["Pie has a crust."]}))
    lines(tmp_path / "cache/datasets/waffle-words/waffle_words.txt", "lorem", "ipsum")
    task = dataset("food101", tmp_path / "disk/pictures").task(EvalSettings(cache_dir=tmp_path / "cache"))
    assert list(task.by_method) == ["clip", "clip-e", "waffle", "cupl", "wca"]


def test_methods_without_their_files_are_left_out_and_named(tmp_path: Path) -> None:
    make_food101(tmp_path)
    task = dataset("food101", tmp_path).task(EvalSettings())
    assert list(task.by_method) == ["clip", "clip-e"]
    assert [note.partition(":")[0] for note in task.notes] == [
        "without clip-d", "without waffle", "without cupl and wca",
    ]  # fmt: skip


def test_descriptions_of_other_classes_are_left_out_when_found_and_refused_when_given(tmp_path: Path) -> None:
    make_food101(tmp_path)
    place = tmp_path / "descriptions/cupl.json"
    lines(place, json.dumps({"ramen": ["Ramen is soup."], "sushi": ["Rice."]}))
    task = dataset("food101", tmp_path).task(EvalSettings())
    assert "wca" not in task.by_method
    assert task.notes[-1].startswith(f"without cupl and wca: {place} describes 1 of 2 classes; not 'apple pie'")
    with pytest.raises(Exception, match="describes 1 of 2 classes"):
        dataset("food101", tmp_path).task(EvalSettings(descriptions=place))


@pytest.mark.parametrize("name", ["cupl.json", "clip-d.json"])
def test_a_method_that_is_left_out_has_one_note(tmp_path: Path, name: str) -> None:
    make_food101(tmp_path)
    lines(tmp_path / "descriptions" / name, json.dumps({"ramen": ["Ramen is soup."], "sushi": ["Rice."]}))
    notes = dataset("food101", tmp_path).task(EvalSettings()).notes
    assert len(notes) == 3
    assert sum(name in note for note in notes if "there is no" not in note) == 1
    assert not any(f"there is no {name}" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not valid JSON"),
        ('{"a": 1}', "must hold a list of templates"),
        ('["a photo of {}.", "a photo."]', "the template 'a photo.' has no place for the class"),
    ],
)
def test_templates_that_do_not_fit_are_left_out_when_found_and_refused_when_given(
    tmp_path: Path, content: str, said: str
) -> None:
    make_food101(tmp_path)
    place = tmp_path / "descriptions/clip-e.json"
    lines(place, content)
    task = dataset("food101", tmp_path).task(EvalSettings())
    assert task.by_method["clip-e"].templates == ()
    assert task.notes[0].startswith("clip-e has the 80 templates of OpenAI's CLIP: ")
    assert said in task.notes[0]
    with pytest.raises(UsageError, match=re.escape(said)):
        dataset("food101", tmp_path).task(EvalSettings(templates=place))


def test_words_that_are_none_are_left_out_when_found_and_refused_when_given(tmp_path: Path) -> None:
    make_food101(tmp_path)
    place = tmp_path / "waffle_words.txt"
    place.write_bytes(b"\xff\xfe\xff")
    task = dataset("food101", tmp_path).task(EvalSettings())
    assert "waffle" not in task.by_method
    assert f"without waffle: {place} is UTF-16, not UTF-8" in task.notes
    with pytest.raises(UsageError, match="is UTF-16, not UTF-8"):
        dataset("food101", tmp_path).task(EvalSettings(words=place))


def imagenet_files(folder: Path) -> list[str]:
    """WCA's layout: ``clip-d.json`` has the four names of OpenAI's first list; gives its keys."""
    revised = imagenet_names()
    first = [*revised]
    for place, name in ((27, "eft"), (638, "maillot"), (744, "projectile"), (836, "sunglass")):
        first[place] = name
    lines(folder / "prompts/cupl.json", json.dumps({name: [f"{name} it is"] for name in revised}))
    lines(folder / "prompts/clip-d.json", json.dumps({name: [f"a tail of {name}"] for name in first}))
    lines(folder / "waffle_words.txt", "lorem", "ipsum")
    return first


def test_imagenets_names_are_those_of_each_methods_file(tmp_path: Path) -> None:
    first = imagenet_files(tmp_path)
    task = read_task("imagenet", tmp_path, imagenet_names(), EvalSettings())
    for method in ("clip", "clip-e", "cupl", "wca"):
        names = task.by_method[method].names
        assert (names[27], names[638], names[744], names[836]) == ("newt", "tights", "missile", "sunglasses")
        assert len(set(names)) == 998  # "missile" and "sunglasses" stand for two classes each
    for method in ("clip-d", "waffle"):
        assert task.by_method[method].names == tuple(first) and len(set(first)) == 1000
    texts = class_texts(task.by_method["clip-d"], method="clip-d")
    assert texts[744].texts == ("projectile, which is a tail of projectile",)
    assert class_texts(task.by_method["waffle"], method="waffle")[27].texts[0].startswith("A photo of a eft, which")


def test_imagenet_a_is_200_of_them_under_the_same_names(tmp_path: Path) -> None:
    MAKERS["imagenet-a"](tmp_path / "imagenet-a")
    imagenet_files(tmp_path / "imagenet-a")
    task = dataset("imagenet-a", tmp_path).task(EvalSettings())
    assert list(task.by_method) == ["clip", "clip-e", "clip-d", "waffle", "cupl", "wca"]
    place = task.names.index("newt")
    assert {method: one.names[place] for method, one in task.by_method.items()} == {
        "clip": "newt", "clip-e": "newt", "clip-d": "eft", "waffle": "eft", "cupl": "newt", "wca": "newt"
    }  # fmt: skip
    assert all(len(one.names) == 200 for one in task.by_method.values())


def test_names_of_other_files_are_the_classes_own(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(38)]
    swapped = ["Class-1", "class 0", *names[2:], "one more"]
    lines(tmp_path / "prompts/cupl.json", json.dumps({name: [f"{name} it is"] for name in swapped}))
    described = read_task("mine", tmp_path, names, EvalSettings()).by_method["wca"]
    assert described.names == tuple(names) and described.descriptions is not None
    assert described.descriptions["class 1"] == ("Class-1 it is",)


@pytest.mark.parametrize("name", ["imagenetv2", "imagenet-s", "imagenet-a"])
def test_what_is_said_about_imagenets_classes_serves_its_variants(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path / name)
    described = {one: [f"{one} it is"] for one in imagenet_names()}
    lines(tmp_path / "wca-descriptions/prompts/imagenet/cupl.json", json.dumps(described))
    task = dataset(name, tmp_path).task(EvalSettings())
    assert list(task.by_method) == ["clip", "clip-e", "cupl", "wca"]
    assert len(task.names) == (200 if name == "imagenet-a" else 1000)


def test_published_class_lists_win_over_the_folders_names_when_they_are_of_the_same_classes(tmp_path: Path) -> None:
    make_cub(tmp_path)
    listed = tmp_path / "features/cub/cub.json"
    lines(listed, json.dumps(["Black-footed Albatross", "Laysan Albatross"]))
    assert dataset("cub", tmp_path).task(EvalSettings()).names == ("Black-footed Albatross", "Laysan Albatross")
    lines(listed, json.dumps(["Ostrich", "Emu"]))
    assert dataset("cub", tmp_path).task(EvalSettings()).names == ("Black footed Albatross", "Laysan Albatross")


def test_names_that_occur_twice_are_said(tmp_path: Path) -> None:
    make_place365(tmp_path)
    lines(tmp_path / "features/place365/place365.json", json.dumps(["airfield", "zen garden", "zen garden"]))
    lines(tmp_path / "categories_places365.txt", "/a/airfield 0", "/z/zen_garden/a 1", "/z/zen_garden/b 2")
    task = dataset("place365", tmp_path).task(EvalSettings())
    assert task.names == ("airfield", "zen garden", "zen garden")
    assert any("3 classes have 2 distinct names" in note for note in task.notes)


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published descriptions are not here")
@pytest.mark.parametrize(("name", "classes"), [("cub", 200), ("dtd", 47), ("food101", 101), ("oxford_pet", 37)])
def test_the_published_descriptions_fit_the_published_classes(name: str, classes: int, tmp_path: Path) -> None:
    listed = json.loads((SHARED / "classes" / f"{name}.json").read_text())
    task = read_task(name, SHARED / name, listed, EvalSettings(words=SHARED / "waffle_words.txt"))
    assert len(task.names) == classes
    assert list(task.by_method) == ["clip", "clip-e", "clip-d", "waffle", "cupl", "wca"]
