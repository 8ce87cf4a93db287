"""Classes and their texts: what is read, what each method makes of it, and every way a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipalign.data.class_texts import class_texts, relative_clause, waffle_descriptors
from clipalign.data.classes import Classes, check_names, read_dataset, read_descriptions, read_labels, read_lines
from clipalign.errors import MissingDataset, UsageError

ANIMALS = {"cat": ("A cat has fur.", "It purrs."), "polar bear": ("A polar bear is white.",)}
WORDS = ("accelerator", "moss", "under", "tin")


def texts(method: str, classes: Classes, **settings: Any) -> dict[str, list[str]]:
    return {one.name: list(one.texts) for one in class_texts(classes, method=method, **settings)}


class TestTexts:
    def test_clip_is_the_template_alone(self) -> None:
        assert texts("clip", Classes(("cat", "polar bear"))) == {
            "cat": ["a photo of a cat."],
            "polar bear": ["a photo of a polar bear."],
        }
        assert texts("clip", Classes(("cat",)), template="{}, an animal {}")["cat"] == ["cat, an animal cat"]

    def test_clip_e_is_every_template(self) -> None:
        found = texts("clip-e", Classes(("cat",), templates=("a {}.", "many {}.")))
        assert found["cat"] == ["a cat.", "many cat."]

    @pytest.mark.parametrize(
        ("descriptor", "clause"),
        [
            ("a long bill", "which is a long bill"),
            ("antlers", "which is antlers"),
            ("used for digging", "which is used for digging"),
            ("has fur", "which has fur"),
            ("often brown", "which often brown"),
            ("typically small", "which typically small"),
            ("may be spotted", "which may be spotted"),
            ("can fly", "which can fly"),
            ("black feet", "which has black feet"),
            ("A tail", "which has A tail"),
        ],
    )
    def test_a_descriptor_becomes_a_relative_clause(self, descriptor: str, clause: str) -> None:
        assert relative_clause(descriptor) == clause

    def test_clip_d_puts_it_behind_the_name(self) -> None:
        found = texts("clip-d", Classes(descriptions={"cat": ("fur", "a tail")}))
        assert found["cat"] == ["cat, which has fur", "cat, which is a tail"]

    def test_cupl_and_wca_take_sentences_as_they_stand_and_only_wca_weighs_them(self) -> None:
        cupl, wca = (class_texts(Classes(descriptions=ANIMALS), method=method) for method in ("cupl", "wca"))
        assert [one.texts for one in cupl] == [one.texts for one in wca] == list(ANIMALS.values())
        assert [one.label for one in cupl] == ["", ""]
        assert [one.label for one in wca] == ["a photo of a cat.", "a photo of a polar bear."]

    def test_names_choose_and_order_the_described_classes(self) -> None:
        assert list(texts("wca", Classes(("polar_bear",), ANIMALS))) == ["polar_bear"]
        assert list(texts("wca", Classes(("polar bear", "cat"), ANIMALS))) == ["polar bear", "cat"]

    def test_a_class_without_descriptions_is_named(self) -> None:
        with pytest.raises(UsageError, match="a class has no descriptions: 'dog'") as caught:
            class_texts(Classes(("cat", "dog"), ANIMALS), method="wca")
        assert "--method clip" in caught.value.hint
        with pytest.raises(UsageError, match=r"7 classes have no descriptions: '0', .*'4' and 2 more"):
            class_texts(Classes(tuple(map(str, range(7))), ANIMALS), method="cupl")

    @pytest.mark.parametrize("method", ["wca", "cupl", "clip-d"])
    def test_methods_that_need_descriptions_say_so(self, method: str) -> None:
        with pytest.raises(UsageError, match=f"{method} needs descriptions"):
            class_texts(Classes(("cat",)), method=method)

    @pytest.mark.parametrize("names", [("cat", "dog", "cat"), ("cat", "  cat")])
    def test_two_classes_of_one_name_are_refused(self, names: tuple[str, ...]) -> None:
        with pytest.raises(UsageError, match="occurs twice, as number 1 and"):
            class_texts(Classes(names), method="clip")

    def test_no_class_an_empty_name_a_template_without_a_place(self) -> None:
        with pytest.raises(UsageError, match="there are no classes"):
            check_names([])
        with pytest.raises(UsageError, match="class 2 has an empty name"):
            check_names(["cat", " "])
        with pytest.raises(UsageError, match="has no place for the class"):
            class_texts(Classes(("cat",)), method="clip", template="a photo")
        with pytest.raises(UsageError, match="unknown value 'CLIP'"):
            class_texts(Classes(("cat",)), method="CLIP")

    def test_one_class_and_ten_thousand(self) -> None:
        assert len(class_texts(Classes(("cat",)), method="clip")) == 1
        assert len(class_texts(Classes(tuple(f"class {n}" for n in range(10_000))), method="clip")) == 10_000


class TestWaffle:
    def test_fifteen_of_words_and_as_many_of_characters_shared_by_all_classes(self) -> None:
        found = texts("waffle", Classes(("polar bear", "cat"), words=WORDS))
        assert {name: len(sentences) for name, sentences in found.items()} == {"polar bear": 30, "cat": 30}
        for bear, cat in zip(found["polar bear"], found["cat"], strict=True):
            assert bear.replace("polar bear", "cat") == cat
            assert cat.startswith("A photo of a cat, which ") and cat.endswith(".")

    def test_words_are_cut_to_the_average_and_as_many_as_names_have(self) -> None:
        found = waffle_descriptors(("polar bear", "brown bears"), WORDS, seed=0)
        for words in found[::2]:
            assert len(words.split()) == 2
            assert set(words.split()) <= {word[:5] for word in WORDS}

    def test_characters_come_from_the_descriptions_where_there_are_any(self) -> None:
        found = waffle_descriptors(("cat",), WORDS, {"cat": ("xyz, x.",)}, seed=0)
        assert set("".join(found[1::2])) <= set("xyz, ")

    def test_the_seed_decides(self) -> None:
        assert waffle_descriptors(("cat",), WORDS, seed=1) == waffle_descriptors(("cat",), WORDS, seed=1)
        assert waffle_descriptors(("cat",), WORDS, seed=1) != waffle_descriptors(("cat",), WORDS, seed=2)

    def test_a_name_of_underscores_alone_is_a_word(self) -> None:
        clauses = waffle_descriptors(["_", "cat"], WORDS, seed=0)
        assert len(clauses) == 30 and {len(word) for word in clauses[::2]} == {2}

    def test_without_words_it_says_how_to_get_some_and_takes_nothing_else_instead(self) -> None:
        with pytest.raises(UsageError, match="draws from a list of words") as caught:
            class_texts(Classes(("cat",)), method="waffle")
        assert "clipalign download waffle-words" in caught.value.hint and "--words" in caught.value.hint


class TestFiles:
    def test_labels_a_line_each_or_a_json_list(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfcat\r\n\r\n polar bear \r\n")
        (tmp_path / "b.json").write_text('["cat", "polar bear"]')
        assert read_labels(tmp_path / "a.txt") == read_labels(tmp_path / "b.json") == ["cat", "polar bear"]

    def test_labels_of_a_description_file_are_its_classes(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps(ANIMALS))
        assert read_labels(tmp_path / "a.json") == list(ANIMALS)

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("a.txt", b"cat\ncat\n", "'cat' occurs twice, as number 1 and 2"),
            ("a.txt", b"\n \n", "there are no classes"),
            ("a.txt", b"\xff\xfe", "not UTF-8"),
            ("a.txt", "cat\ndog\n".encode("utf-16"), "is UTF-16, not UTF-8"),
            ("a.txt", "cat\ndog\n".encode("utf-16-le"), "is UTF-16, not UTF-8"),
            ("a.json", '["cat"]'.encode("utf-16-be"), "is UTF-16, not UTF-8"),
            ("a.txt", b"cat,dog\n", "looks like a list on one line"),
            ("a.txt", b"cat; dog, bird", "looks like a list on one line"),
            ("a.txt", b"cat,animal\noak,plant\n", "looks like a table"),
            ("a.csv", b"Label\r\ncat\r\ndog\r\n", "begins with what looks like a header, 'Label'"),
            ("a.tsv", b"Name\tSize\ncat\t\ndog\t\n", "looks like a table"),
            ("a.json", b'[["cat", "tom"]]', "must hold a list of class names"),
            ("a.json", b"[1", "not valid JSON"),
        ],
    )
    def test_bad_labels_name_the_file(self, tmp_path: Path, name: str, content: bytes, said: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=said) as caught:
            read_labels(tmp_path / name)
        assert str(tmp_path / name) in caught.value.input

    def test_a_missing_file_or_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="No such file"):
            read_labels(tmp_path / "none.txt")
        with pytest.raises(UsageError, match="cannot be read"):
            read_descriptions(tmp_path)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('["a {}."]', "not a list"),
            ('"cat"', "not a string"),
            ("3", "not a number"),
            ("null", "not null"),
            ('{"cat": "A cat has fur."}', "descriptions of 'cat' must be a list, not a string"),
            ('{"cat": {"a": "b"}}', "must be a list, not an object"),
            ('{"cat": [["A cat."]]}', "description 1 of 'cat' is a list"),
            ('{"cat": ["A cat.", "  "]}', "description 2 of 'cat' is empty"),
            ('{"cat": []}', "a class has no descriptions: 'cat'"),
            ('{"cat": ["A."], "cat": ["B."]}', "the class 'cat' occurs twice"),
            ('{"cat": ' + "9" * 5000 + "}", "holds something else than lists of sentences"),
            ('{"0": ["A cat."], "1": ["A dog."]}', "has ids for its keys, such as '0'"),
            ('{"n01440764": ["A fish."]}', "has ids for its keys"),
            ('{"": ["A."]}', "class 1 has an empty name"),
            ("{}", "there are no classes"),
            ("{", "not valid JSON: .* line 1"),
        ],
    )
    def test_a_description_file_of_the_wrong_shape(self, tmp_path: Path, content: str, said: str) -> None:
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UsageError, match=said) as caught:
            read_descriptions(tmp_path / "a.json")
        assert caught.value.input

    def test_names_that_look_a_little_like_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("tench, Tinca tinca\n7 up\n1,000-year-old oak\n")
        assert read_labels(tmp_path / "a.txt")[0] == "tench, Tinca tinca"
        (tmp_path / "digits.json").write_text(json.dumps({digit: ["A digit."] for digit in "0123456789"}))
        assert list(read_descriptions(tmp_path / "digits.json")) == list("0123456789")

    def test_templates_in_place_of_descriptions_are_recognised(self, tmp_path: Path) -> None:
        (tmp_path / "clip-e.json").write_text('["a photo of a {}."]')
        with pytest.raises(UsageError) as caught:
            read_descriptions(tmp_path / "clip-e.json")
        assert "--templates" in caught.value.hint

    def test_a_file_nested_beyond_reason(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("[" * 200_000)
        with pytest.raises(UsageError, match=r"nested too deeply|not valid JSON"):
            read_descriptions(tmp_path / "a.json")

    def test_lines_and_lists(self, tmp_path: Path) -> None:
        (tmp_path / "words.txt").write_text("moss\n\ntin\n")
        (tmp_path / "words.json").write_text('["moss", "tin"]')
        assert read_lines(tmp_path / "words.txt", what="words") == ["moss", "tin"]
        assert read_lines(tmp_path / "words.json", what="words") == ["moss", "tin"]
        (tmp_path / "none.txt").write_text(" \n")
        with pytest.raises(UsageError, match="holds no words"):
            read_lines(tmp_path / "none.txt", what="words")

    def test_a_broken_list_is_told_what_a_list_looks_like(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text('["moss"')
        with pytest.raises(UsageError, match="not valid JSON") as caught:
            read_lines(tmp_path / "a.json", what="templates")
        assert caught.value.hint == '["…", …], a list of templates'
        with pytest.raises(UsageError, match="not valid JSON") as caught:
            read_labels(tmp_path / "a.json")
        assert caught.value.hint == '["cat", "dog", …]'


class TestDatasets:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name, content in {
            "prompts/zoo/cupl.json": {"polar bear": ["A polar bear is white."], "cat": ["A cat has fur."]},
            "prompts/zoo/clip-d.json": {"polar bear": ["white fur"], "cat": ["a tail"]},
            "prompts/zoo/clip-e.json": ["a photo of {}, an animal."],
            "features/zoo/zoo.json": ["polar_bear", "cat", "cat"],
        }.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    def test_every_method_finds_its_file(self, folder: Path) -> None:
        assert texts("wca", read_dataset([folder], "zoo", method="wca"))["cat"] == ["A cat has fur."]
        assert texts("clip-d", read_dataset([folder], "zoo", method="clip-d"))["cat"] == ["cat, which is a tail"]
        assert texts("clip-e", read_dataset([folder], "zoo", method="clip-e"))["cat"] == ["a photo of cat, an animal."]
        assert list(texts("clip", read_dataset([folder], "zoo", method="clip"))) == ["polar bear", "cat"]

    def test_names_alone_are_enough_for_clip(self, folder: Path) -> None:
        for file in (folder / "prompts" / "zoo").glob("*.json"):
            file.unlink()
        assert list(texts("clip", read_dataset([folder], "zoo", method="clip"))) == ["polar bear", "cat"]
        with pytest.raises(MissingDataset, match="of zoo for wca") as caught:
            read_dataset([folder], "zoo", method="wca")
        assert "clipalign download wca-descriptions" in caught.value.hint

    def test_where_only_descriptors_are_published_the_hint_says_so(self, folder: Path) -> None:
        (folder / "prompts" / "zoo" / "cupl.json").unlink()
        with pytest.raises(MissingDataset) as caught:
            read_dataset([folder], "zoo", method="wca")
        assert "--method clip-d" in caught.value.hint

    def test_a_set_that_is_not_here(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDataset):
            read_dataset([tmp_path], "zoo", method="clip")


@pytest.mark.parametrize(
    ("file", "content", "seems"),
    [
        ("a.txt", "0 cat\n1 dog\n", "ids and names"),
        ("a.txt", "n01440764 tench\nn01443537 goldfish\n", "ids and names"),
        ("a.txt", "cat\t0\ndog\t1\n", "names and ids"),
        ("a.txt", "id,name\n0,cat\n1,dog\n", "a table"),
        ("a.txt", "class,description\ncat,has fur\ndog,barks\n", "a table with a header"),
        ("a.txt", "{0: 'cat',\n 1: 'dog'}\n", "JSON or Python|ids and names"),
        ("a.txt", '[\n"cat",\n"dog"\n]\n', "JSON or Python"),
        ("a.txt", '{"id": 0}\n{"id": 1}\n', "JSON"),
        ("a.txt", "names:\n 0: cat\n 1: dog\n", "a table"),
        ("a.txt", "- cat\n- dog\n", "YAML"),
        ("a.txt", "<!DOCTYPE html>\n<p>cat\n", "a web page"),
        ("a.txt", "0\n1\n2\n", "ids alone"),
        ("a.txt", "cat,\ndog,\n", "commas at the ends"),
        ("a.json", '{"0": "cat"}', "ids and names"),
        ("a.json", '{"cat": 0}', "ids and names"),
        ("a.json", '[["n01440764", "tench"]]', "ids and names"),
        ("a.json", "[0, 1]", "not of names alone"),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, file: str, content: str, seems: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(UsageError, match=seems) as caught:
        read_labels(tmp_path / file)
    assert "one name a line" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "names",
    [
        ["7 up", "747 airplane", "2 CV"],
        ["707-320", "727-200"],
        ["tench, Tinca tinca", "goldfish, Carassius auratus"],
        ["hen's egg", "Dr. Who: the doctor", "crane (bird)"],
        ["crane (bird)", "bat (animal)"],
        [*"0123456789"],
    ],
)
def test_names_with_digits_and_marks_are_names(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "a.txt").write_text("\n".join(names))
    assert read_labels(tmp_path / "a.txt") == names
