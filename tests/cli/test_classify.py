"""``clipalign classify`` as a user meets it: status, stdout, stderr."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.chat import chat_server
from tests.cli.run import GOLDEN, IMAGE, TINY, Run, run_apart, run_here

Capture = pytest.CaptureFixture[str]
WCA = str(GOLDEN / "images" / "wca.png")
ANIMALS = {
    "cat": ["A cat has fur.", "A cat has whiskers and pointed ears.", "a small animal with a tail"],
    "car": ["A car has four wheels.", "A red vehicle on a road."],
    "tree": ["A tree has green leaves."],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with classes, pictures and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPALIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPALIGN_MODEL", TINY)
    (tmp_path / "animals.json").write_text(json.dumps(ANIMALS))
    (tmp_path / "labels.txt").write_text("cat\ncar\ntree\n")
    shutil.copy(WCA, tmp_path / "wca.png")
    (tmp_path / "pics" / "more").mkdir(parents=True)
    for number, place in enumerate(("pics/b.png", "pics/a.png", "pics/more/c.png")):
        shutil.copy(GOLDEN / "images" / f"{number}.png", tmp_path / place)
    return tmp_path


def classify(capsys: Capture, *line: str, few: bool = True) -> Run:
    return run_here(capsys, "classify", *line, *(["--crops", "4"] if few else []))


def record(capsys: Capture, *line: str) -> dict[str, Any]:
    status, out, err = classify(capsys, "wca.png", *line)
    assert (status, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


class TestOnePicture:
    def test_a_table(self, here: Path, capsys: Capture) -> None:
        line = ["wca.png", "--descriptions", "animals.json", "--format", "table"]
        status, out, err = classify(capsys, *line)
        assert (status, err) == (0, "")
        assert out.startswith("wca.png\n\n1 c")
        assert re.search(r"^1 car +0\.1\d{3} +│█+$", out, re.MULTILINE)
        assert re.search(r"^2 cat +0\.1\d{3}  -0\.0\d{3} │█+▌?$", out, re.MULTILINE)
        assert "wca: 4 crops, 3 classes, 6 texts" in out and "weights e96270fb03c6" in out

    def test_explained_it_names_sentences_and_crops(self, here: Path, capsys: Capture) -> None:
        out = classify(capsys, "wca.png", "--descriptions", "animals.json", "--format", "table", "--explain").out
        block = out[out.index("\ncat  0.") :]
        assert re.match(r'\ncat  0\.1\d{3}, of that\n(  \+0\.\d{4} ".+"\n){3}', block)
        assert len(re.findall(r"crop \d: \d+ × \d+ pixels at \d+, \d+; weight 0\.\d{3}", out)) == 9
        assert out.count("1 more crop\n") == 3

    def test_a_pipe_gets_one_json_document(self, here: Path, capsys: Capture) -> None:
        found = record(capsys, "--descriptions", "animals.json")
        assert list(found)[:7] == ["id", "image", "model", "method", "class", "score", "classes"]
        assert (found["id"], found["image"], found["model"], found["method"]) == ("wca.png", "wca.png", TINY, "wca")
        assert {one["name"] for one in found["classes"]} == set(ANIMALS)
        assert found["class"] == found["classes"][0]["name"] and found["score"] == found["classes"][0]["score"]
        assert "crops" not in found and list(found)[-1] == "provenance"

    def test_explained_json_has_the_whole_matrix(self, here: Path, capsys: Capture) -> None:
        found = record(capsys, "--descriptions", "animals.json", "--explain", "--top", "2")
        assert [set(crop) for crop in found["crops"]] == [{"box", "weight"}] * 4
        assert all(set(text) == {"class", "text", "weight"} for text in found["descriptions"])
        assert len(found["contributions"]) == 4
        assert {len(row) for row in found["contributions"]} == {len(found["descriptions"])}
        best = found["classes"][0]
        columns = [n for n, text in enumerate(found["descriptions"]) if text["class"] == best["name"]]
        total = sum(row[n] for row in found["contributions"] for n in columns)
        assert best["scale"] * total == pytest.approx(best["score"], abs=1e-6)

    def test_options_reach_the_numbers_and_the_provenance(self, here: Path, capsys: Capture) -> None:
        line = ["--descriptions", "animals.json", "--alpha", "0.8", "--image-logscale", "1", "--text-logscale", "0.5"]
        line += ["--template", "one {}", "--seed", "3", "--batch-size", "2", "--top", "1", "--explain"]
        found = record(capsys, *line)
        settings = found["provenance"]["settings"]
        assert settings["alpha"] == 0.8 and settings["crops"] == 4 and found["provenance"]["seed"] == 3
        assert (settings["image_logscale"], settings["text_logscale"], settings["template"]) == (1.0, 0.5, "one {}")
        assert len(found["classes"]) == 1
        assert min(crop["box"][2] - crop["box"][0] for crop in found["crops"]) >= 120

    def test_labels_alone_are_clip(self, here: Path, capsys: Capture) -> None:
        found = record(capsys, "--labels", "labels.txt")
        assert found["method"] == "clip" and found["provenance"]["settings"]["template"] == "a photo of a {}."

    def test_labels_choose_among_the_described(self, here: Path, capsys: Capture) -> None:
        (here / "two.txt").write_text("tree\ncat\n")
        found = record(capsys, "--labels", "two.txt", "--descriptions", "animals.json")
        assert {one["name"] for one in found["classes"]} == {"tree", "cat"} and found["method"] == "wca"

    @pytest.mark.parametrize("method", ["clip", "clip-e", "clip-d", "waffle", "cupl"])
    def test_every_method(self, here: Path, capsys: Capture, method: str) -> None:
        (here / "words.txt").write_text("moss\ntin\nunder\n")
        found = record(capsys, "--descriptions", "animals.json", "--method", method, "--words", "words.txt")
        assert found["method"] == method and len(found["classes"]) == 3

    def test_templates_of_ones_own(self, here: Path, capsys: Capture) -> None:
        (here / "templates.txt").write_text("a {}.\nmany {}s.\n")
        line = ["--labels", "labels.txt", "--method", "clip-e", "--templates", "templates.txt"]
        assert record(capsys, *line)["provenance"]["settings"]["texts"] == 6

    def test_classes_typed_or_piped(self, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
        typed = record(capsys, "--label", "cat", "--label", "car", "--label", "tree")
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"cat\n\ncar\ntree\n")))
        assert record(capsys, "--labels", "-") == typed == record(capsys, "--labels", "labels.txt")
        (here / "two.txt").write_text("car\ntree\n")
        assert record(capsys, "--label", "cat", "--labels", "two.txt") == typed
        both = classify(capsys, "-", "--labels", "-")
        assert (both.status, "only one input can be -" in both.err) == (2, True)
        assert "occurs twice" in classify(capsys, "wca.png", "--label", "cat", "--label", "cat").err

    def test_probabilities_are_the_softmax_with_the_model_s_own_scale(self, here: Path, capsys: Capture) -> None:
        found = record(capsys, "--labels", "labels.txt", "--probabilities")
        scale = found["provenance"]["settings"]["logit_scale"]
        weights = [math.exp(scale * one["score"]) for one in found["classes"]]
        assert [one["probability"] for one in found["classes"]] == pytest.approx(
            [weight / sum(weights) for weight in weights], abs=1e-6
        )
        assert scale == pytest.approx(math.exp(load_file(GOLDEN / "tiny-clip.safetensors")["logit_scale"].item()))

    def test_none_of_these(self, here: Path, capsys: Capture) -> None:
        line = ["--labels", "labels.txt", "--reject-below"]
        best = record(capsys, *line, "-1")
        assert (best["rejected"], best["class"]) == (False, best["classes"][0]["name"])
        none = record(capsys, *line, "0.9")
        assert (none["rejected"], none["class"], none["score"]) == (True, None, best["score"])
        likely = record(capsys, *line, "0.34", "--probabilities")
        assert likely["rejected"] == (likely["classes"][0]["probability"] < 0.34)
        table = classify(capsys, "wca.png", *line, "0.9", "--format", "table").out
        assert "none of these: the best is below 0.9" in table
        many = classify(capsys, "pics", *line, "0.9", "--format", "table").out
        assert "most frequent classes: none of these 3" in many and ", not even " in many

    def test_a_page_with_frames_and_a_heat_map(self, here: Path, capsys: Capture) -> None:
        (here / "hostile.json").write_text(json.dumps({"<script>x</script>": ["<img src=x>", "b"], "cat": ["A cat."]}))
        line = ["wca.png", "--descriptions", "hostile.json", "--explain", "-o", "why.html"]
        assert classify(capsys, *line)[:2] == (0, "")
        page = (here / "why.html").read_text()
        assert "<script>x" not in page and "<img src=x" not in page
        assert page.count('<rect class="mark h') == 4 and page.count('<use href="#seen-0"/>') == 4
        assert 'class="heat"' in page and "data:image/jpeg;base64" in page
        assert re.search(r'class="heat-9">\d+\.\d<', page)

    def test_from_standard_input(self, here: Path, program: list[str]) -> None:
        content = Path(WCA).read_bytes()
        line = ("classify", "-", "--labels", str(here / "labels.txt"), "--model", TINY)
        done = run_apart(*line, program=program, stdin=content)
        assert done.status == 0 and json.loads(done.out)["image"] == "-"

    def test_class_vectors_come_from_the_cache_and_damaged_ones_are_made_again(
        self, here: Path, capsys: Capture
    ) -> None:
        line = ["wca.png", "--descriptions", "animals.json"]
        first = classify(capsys, *line)
        assert "came from" in classify(capsys, *line, "-v").err
        (file,) = (here / "cache" / "class-vectors").iterdir()
        file.write_bytes(file.read_bytes()[:-9])
        again = classify(capsys, *line)
        assert (again.status, again.out) == (0, first.out)
        assert re.search(r"^warning: the cached class vectors in .* made again$", again.err, re.MULTILINE)
        assert classify(capsys, *line) == first


class TestManyPictures:
    def test_a_folder_in_sorted_order_with_those_below(self, here: Path, capsys: Capture) -> None:
        status, out, err = classify(capsys, "pics", "--descriptions", "animals.json")
        assert status == 0 and err.startswith("3 pictures\n")
        records = [json.loads(line) for line in out.splitlines()]
        assert [one["id"] for one in records] == ["a", "b", "more/c"]

    def test_pictures_and_folders_together_give_what_each_gives_alone(self, here: Path, capsys: Capture) -> None:
        line = ["--descriptions", "animals.json", "--explain"]
        out = classify(capsys, "wca.png", "pics", *line).out
        records = [json.loads(line) for line in out.splitlines()]
        assert [one["id"] for one in records] == ["wca.png", "a", "b", "more/c"]
        alone = record(capsys, *line)
        assert [crop["box"] for crop in records[0]["crops"]] == [crop["box"] for crop in alone["crops"]]
        # A weight is proportional to exp(e^4 · cosine). Batches of other sizes round cosines differently, up to 1e-6.
        logs = ([math.log(crop["weight"]) for crop in one["crops"]] for one in (records[0], alone))
        cosines = ([(log - statistics.mean(one)) / math.exp(4) for log in one] for one in logs)
        assert next(cosines) == pytest.approx(next(cosines), abs=1e-6)
        assert records[0]["score"] == pytest.approx(alone["score"], abs=1e-6)

    def test_a_picture_that_cannot_be_read_is_a_record_with_its_error(self, here: Path, capsys: Capture) -> None:
        (here / "pics" / "b.png").write_bytes(b"no picture")
        status, out, err = classify(capsys, "pics", "--labels", "labels.txt")
        kinds = ["error" in json.loads(line) for line in out.splitlines()]
        assert status == 3 and kinds == [False, True, False]
        assert "is not a picture" in err and "1 unreadable" in err

    def test_every_format(self, here: Path, capsys: Capture) -> None:
        line = ["pics", "--labels", "labels.txt", "--format"]
        table = classify(capsys, *line, "table").out
        head, *lines = table.splitlines()[:4]
        assert head.split() == ["score", "id", "class", "next", "best"]
        assert all(re.match(r"-?0\.\d{4}  (a|b|more/c) +\w+ +\w+ +-?0\.\d{4}  \w+ +-?0\.\d{4}$", one) for one in lines)
        assert len({re.match(r"\S+ +\S+ +", one).end() for one in lines}) == 1, "the classes stand in columns"  # type: ignore[union-attr]
        assert "most frequent classes: " in table
        document = json.loads(classify(capsys, *line, "json").out)
        assert len(document["results"]) == 3 and document["summary"]["records"] == 3
        rows = list(csv.DictReader(io.StringIO(classify(capsys, *line, "csv").out)))
        assert [row["id"] for row in rows] == ["a", "b", "more/c"] and {row["class"] for row in rows} <= set(ANIMALS)
        assert classify(capsys, *line, "html").out.count('<article class="card') == 3
        assert classify(capsys, *line, "github").out == ""

    def test_a_table_of_pictures_and_a_run_that_goes_on(self, here: Path, capsys: Capture) -> None:
        (here / "list.csv").write_text("image,id\npics/a.png,one\npics/b.png,two\nwca.png,three\n")
        line = ["--input", "list.csv", "--labels", "labels.txt", "--batch-size", "1", "-o", "out.jsonl"]
        assert classify(capsys, *line).status == 0
        whole = (here / "out.jsonl").read_bytes()
        assert [json.loads(one)["id"] for one in whole.splitlines()] == ["one", "two", "three"]
        (here / "out.jsonl").write_bytes(whole[: len(whole) // 2])
        assert classify(capsys, *line, "--resume").status == 0
        assert (here / "out.jsonl").read_bytes() == whole
        refused = classify(capsys, *line, "--resume", "--seed", "9")
        assert refused.status == 2 and "seed" in refused.err

    def test_shards_are_the_whole(self, here: Path, capsys: Capture) -> None:
        line = ["pics", "wca.png", "--descriptions", "animals.json", "--batch-size", "1"]
        parts = [classify(capsys, *line, "--shard", f"{n}/3").out for n in (1, 2, 3)]
        assert sorted("".join(parts).splitlines()) == sorted(classify(capsys, *line).out.splitlines())

    def test_one_bad_picture_may_be_a_record_too(self, here: Path, capsys: Capture) -> None:
        done = classify(capsys, "none.jpg", "--labels", "labels.txt", "--on-error", "skip")
        assert done.status == 3 and json.loads(done.out)["error"]["type"] == "image_unreadable"


class TestMistakes:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (["wca.png"], "there are no classes to choose from"),
            (["--labels", "labels.txt"], "missing IMAGE"),
            (["", "--labels", "labels.txt"], "IMAGE is empty"),
            (["wca.png", "--labels", "none.txt"], "none.txt cannot be read"),
            (["wca.png", "--labels", "labels.txt", "--method", "wca"], "the method wca needs descriptions"),
            (["wca.png", "--labels", "labels.txt", "--method", "wac"], "--method must be wca, clip,"),
            (["wca.png", "--labels", "labels.txt", "--method", "waffle"], "draws from a list of words"),
            (["wca.png", "--labels", "twice.txt"], "the class 'cat' occurs twice"),
            (["wca.png", "--descriptions", "list.json"], "must hold an object"),
            (["wca.png", "--descriptions", "empty.json"], "a class has no descriptions: 'dog'"),
            (["wca.png", "--labels", "more.txt", "--descriptions", "animals.json"], "no descriptions: 'cow'"),
            (["wca.png", "--labels", "labels.txt", "--alpha", "0.95"], "--alpha must be a number from 0 to 0.9"),
            (["wca.png", "--labels", "labels.txt", "--crops", "0"], "--crops must be a whole number"),
            (["wca.png", "--labels", "labels.txt", "--template", "a photo"], "has no place for the class"),
            (["wca.png", "--labels", "labels.txt", "--dataset", "cub"], "--dataset and --labels both"),
            (["wca.png", "--dataset", "cubs"], "no published descriptions of 'cubs'"),
            (["wca.png", "--labels", "labels.txt", "--input", "a.csv"], "IMAGE and --input exclude each other"),
            (["wca.png", "--labels", "labels.txt", "--resume"], "--resume is for many images"),
            (["wca.png", "--labels", "labels.txt", "--image-root", "pics"], "--image-root is for --input"),
            (["-", "-", "--labels", "labels.txt"], "standard input can be read once"),
        ],
    )
    def test_status_2_and_a_sentence(self, here: Path, capsys: Capture, line: list[str], said: str) -> None:
        (here / "twice.txt").write_text("cat\ndog\ncat\n")
        (here / "more.txt").write_text("cat\ncow\n")
        (here / "list.json").write_text('["a photo of a {}."]')
        (here / "empty.json").write_text('{"cat": ["A cat."], "dog": []}')
        status, out, err = classify(capsys, *line, few="--crops" not in line)
        assert (status, out) == (2, "") and said in err
        assert len(err.splitlines()) <= 2

    def test_a_picture_that_is_not_there_and_a_folder_without_any(self, here: Path, capsys: Capture) -> None:
        (here / "bare").mkdir()
        for image, said in (("none.png", "there is no file none.png"), ("bare", "there are no pictures in bare")):
            status, out, err = classify(capsys, image, "--labels", "labels.txt")
            assert (status, out) == (3, "") and said in err

    def test_a_data_set_that_is_not_here_names_the_line_that_fetches_it(self, here: Path, capsys: Capture) -> None:
        status, _, err = classify(capsys, "wca.png", "--dataset", "cub")
        assert status == 4 and "clipalign download wca-descriptions" in err

    def test_one_class_and_a_tiny_picture_are_warned_of(self, here: Path, capsys: Capture) -> None:
        (here / "one.json").write_text('{"cat": ["A cat."]}')
        Image.new("RGB", (5, 5)).save(here / "small.png")
        status, _, err = classify(capsys, "small.png", "--descriptions", "one.json", "--format", "table")
        assert status == 0 and "one class alone" in err and "less than 8 pixels" in err

    def test_a_failing_run_leaves_stdout_empty_and_an_object_on_stderr(self, here: Path, capsys: Capture) -> None:
        status, out, err = classify(capsys, "none.png", "--labels", "labels.txt", "--format", "json")
        assert (status, out) == (3, "") and json.loads(err)["error"]["type"] == "image_unreadable"


class TestDatasets:
    @pytest.fixture
    def published(self, here: Path) -> Path:
        folder = here / "cache" / "datasets" / "wca-descriptions"
        for name, content in {
            "prompts/cub/cupl.json": ANIMALS,
            "prompts/cub/clip-d.json": {name: ["fur"] for name in ANIMALS},
            "prompts/cub/clip-e.json": ["a photo of a {}, a type of bird."],
            "features/cub/cub.json": list(ANIMALS),
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content))
        words = here / "cache" / "datasets" / "waffle-words"
        words.mkdir()
        (words / "waffle_words.txt").write_text("moss\ntin\n")
        return folder

    @pytest.mark.parametrize(
        ("method", "texts"), [("wca", 6), ("cupl", 6), ("clip", 3), ("clip-e", 3), ("clip-d", 3), ("waffle", 90)]
    )
    def test_fetched_files_serve_every_method(
        self, here: Path, capsys: Capture, published: Path, method: str, texts: int
    ) -> None:
        found = record(capsys, "--dataset", "CUB", "--method", method)
        assert found["provenance"]["settings"]["texts"] == texts

    def test_a_folder_of_ones_own(self, here: Path, capsys: Capture, published: Path) -> None:
        published.rename(here / "mine")
        assert record(capsys, "--dataset", "cub", "--data-root", "mine")["method"] == "wca"


class TestDescribeWith:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        monkeypatch.setenv("NO_PROXY", "*")
        with chat_server() as found:
            yield found

    def test_classes_are_described_once_and_kept_as_a_file(self, here: Path, capsys: Capture, server: Any) -> None:
        line = ["wca.png", "--labels", "labels.txt", "--describe-with", server.url, "llama-3", "--explain"]
        status, out, err = classify(capsys, *line)
        assert status == 0 and json.loads(out)["method"] == "wca" and len(server.asked) == 3
        assert "asking llama-3 at 127.0.0.1 about 3 classes" in err
        assert "A cat is loud." in {text["text"] for text in json.loads(out)["descriptions"]}
        (file,) = (here / "cache" / "descriptions").iterdir()
        assert str(file) in err
        again = classify(capsys, *line, "--offline")
        assert again.out == out and len(server.asked) == 3
        assert record(capsys, "--descriptions", str(file))["method"] == "wca"

    def test_nothing_is_sent_without_the_flag(
        self, here: Path, capsys: Capture, server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLIPALIGN_DESCRIBE_WITH", f"{server.url} llama-3")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-123")
        (here / "clipalign.toml").write_text(f'[classify]\ndescribe-with = ["{server.url}", "llama-3"]\n')
        assert classify(capsys, "wca.png", "--labels", "labels.txt").status == 2  # a key that no file may hold
        (here / "clipalign.toml").unlink()
        assert classify(capsys, "wca.png", "--labels", "labels.txt").status == 0
        assert server.asked == []

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (["--descriptions", "animals.json"], "--describe-with describes the classes of --labels"),
            (["--labels", "labels.txt", "--method", "clip"], "the method clip uses no descriptions"),
            (["--labels", "labels.txt", "--offline"], "--offline (or HF_HUB_OFFLINE) forbids asking"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self,
        here: Path,
        capsys: Capture,
        server: Any,
        line: list[str],
        said: str,
    ) -> None:
        done = classify(capsys, "wca.png", *line, "--describe-with", server.url, "llama-3")
        assert done.status == 2 and said in done.err and server.asked == []

    def test_a_server_that_refuses_is_status_4(self, here: Path, capsys: Capture, server: Any) -> None:
        server.usual = lambda handler, name: handler.send(401, b"no")
        done = classify(capsys, "wca.png", "--labels", "labels.txt", "--describe-with", server.url, "llama-3")
        assert done.status == 4 and "set OPENAI_API_KEY" in done.err


def test_the_page_of_help_shows_options_with_their_values(capsys: Capture) -> None:
    out = run_here(capsys, "classify", "--help").out
    for option in ("--labels", "--descriptions FILE", "--method wca|clip", "--[no-]explain", "--input"):
        assert option in out
    assert "--describe-with URL MODEL" in run_here(capsys, "classify", "--help-all").out


def test_another_picture_than_the_golden_one(here: Path, capsys: Capture) -> None:
    assert classify(capsys, IMAGE, "--labels", "labels.txt").status == 0
