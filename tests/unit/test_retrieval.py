"""R@K in blocks against counting everything at once; the data sets in their real or documented layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipalign.errors import MissingDataset
from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.long_captions import LongSample
from clipalign.evaluation.tasks.retrieval import ranks, recall_statistics
from clipalign.methods.score_long import LongScorer
from clipalign.methods.settings import LongSettings
from clipalign.models.encode import EncodedPicture, encode_texts
from tests.evaluated import run_benchmark
from tests.tiny import load_tiny

Array = np.ndarray[Any, Any]
SHARED = Path(__file__).parents[3] / "shared" / "data"


def vectors(count: int, seed: int, width: int = 8) -> Array:
    found = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    unit: Array = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def naive_recall(images: Array, texts: Array, owners: Array, k: int) -> tuple[float, float]:
    """The whole matrix, sorted."""
    similar = images @ texts.T
    by_image = np.argsort(-similar, axis=1)[:, :k]
    by_text = np.argsort(-similar, axis=0)[:k]
    found = [number in owners[row] for number, row in enumerate(by_image)]
    return float(np.mean(found)), float((by_text == owners[None, :]).any(0).mean())


class TestRanks:
    @pytest.mark.parametrize("block_numbers", [1, 100, 1_000_000])
    @pytest.mark.parametrize("captions", [1, 5])
    def test_the_same_as_sorting_the_whole_matrix(self, block_numbers: int, captions: int) -> None:
        counts = np.full(40, captions)
        images, texts = vectors(40, 0), vectors(40 * captions, 1)
        owners = np.repeat(np.arange(40), counts)
        texts = texts + images[owners] * 0.8
        found = ranks(images, texts, counts, block_numbers=block_numbers)
        for k in (1, 5, 10):
            to_text, to_image = naive_recall(images, texts, owners, k)
            assert (found.of_images < k).mean() == pytest.approx(to_text)
            assert (found.of_texts < k).mean() == pytest.approx(to_image)

    def test_pictures_with_different_numbers_of_captions(self) -> None:
        images = np.eye(3, dtype=np.float32)
        texts = np.eye(3, dtype=np.float32)[[0, 1, 1, 0]]  # the last belongs to the third picture
        found = ranks(images, texts, np.array([1, 2, 1]))
        assert found.of_images.tolist() == [1, 0, 3] and found.of_texts.tolist() == [0, 0, 0, 2]

    def test_a_model_that_gives_one_vector_to_everything_finds_nothing(self) -> None:
        same = np.ones((10, 4), dtype=np.float32) / 2
        found = recall_statistics([str(n) for n in range(10)], same, same, np.ones(10, dtype=int), at=(1, 5))
        assert {one.name: one.value() for one in found} == {
            "r1_image_to_text": 0, "r5_image_to_text": 0, "r1_text_to_image": 0, "r5_text_to_image": 0
        }  # fmt: skip

    def test_chance(self) -> None:
        images, texts = vectors(10, 0), vectors(20, 1)
        found = recall_statistics([str(n) for n in range(10)], images, texts, np.full(10, 2), at=(1, 5, 30))
        by_name = {one.name: one.chance for one in found}
        assert by_name["r1_image_to_text"] == pytest.approx(0.1)
        assert by_name["r5_image_to_text"] == pytest.approx(1 - (15 * 14) / (20 * 19))
        assert (
            by_name["r5_text_to_image"] == 0.5 and by_name["r30_image_to_text"] == by_name["r30_text_to_image"] == 1.0
        )

    def test_memory_is_bounded_for_the_numbers_of_coco(self) -> None:
        import tracemalloc

        images, texts = vectors(1000, 0, 16), vectors(5000, 1, 16)
        tracemalloc.start()
        ranks(images, texts, np.full(1000, 5), block_numbers=100_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6_000_000  # the matrix alone would have 20 MB


CAPTIONS = ["A red car on a street.", "Two dogs on a sofa.", "A tall house by the sea.", "Rain over a long bridge."]


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((80, 60)).save(path)


def save_urban1k(folder: Path) -> None:
    for number, caption in enumerate(CAPTIONS, 1):
        picture(folder / "image" / f"{number}.jpg", number)
        (folder / "caption").mkdir(exist_ok=True)
        (folder / "caption" / f"{number}.txt").write_text(caption + "\n")


def urban1k(folder: Path) -> Any:
    return find_benchmark("urban1k", data_root=folder)


def coco2017(folder: Path) -> Any:
    return find_benchmark("coco2017", data_root=folder)


def samples_of(benchmark: Any) -> list[LongSample]:
    benchmark.check()
    found = list(benchmark.samples(limit=None, seed=0))
    assert all(isinstance(one, LongSample) for one in found)
    return found


class TestUrban1k:
    @pytest.mark.parametrize("inner", ["", "Urban1k"])
    def test_its_layout(self, tmp_path: Path, inner: str) -> None:
        save_urban1k(tmp_path / inner)
        result = run_benchmark(urban1k(tmp_path), load_tiny(), EvalSettings())
        found = {metric.name: metric.value for metric in result.metrics}
        scorer = LongScorer(load_tiny(), LongSettings(stretch=False))
        paths = [tmp_path / inner / "image" / f"{number}.jpg" for number in range(1, 5)]
        vectors = scorer.encode([scorer.prepare(Image.open(path).convert("RGB")) for path in paths])
        images = torch.cat([one.vectors for one in vectors if isinstance(one, EncodedPicture)])
        to_text, to_image = naive_recall(images.numpy(), encode_texts(load_tiny(), CAPTIONS).numpy(), np.arange(4), 1)
        assert found == {"r1_image_to_text": pytest.approx(to_text), "r1_text_to_image": pytest.approx(to_image)}
        assert any("4 of its 1,000 samples" in note for note in result.notes)

    def test_what_is_missing_is_counted(self, tmp_path: Path) -> None:
        save_urban1k(tmp_path)
        (tmp_path / "image" / "2.jpg").unlink()
        (tmp_path / "caption" / "3.txt").write_bytes(b"\xff\xfe\xff")
        (tmp_path / "image" / "4.jpg").write_bytes(b"none")
        assert run_benchmark(urban1k(tmp_path), load_tiny(), EvalSettings()).counts == {"samples": 1, "unreadable": 3}

    def test_numbers_in_the_order_of_numbers(self, tmp_path: Path) -> None:
        for name in ("10", "9", "1", "other"):
            picture(tmp_path / "image" / f"{name}.jpg", 0)
            (tmp_path / "caption").mkdir(exist_ok=True)
            (tmp_path / "caption" / f"{name}.txt").write_text("a dog")
        benchmark = urban1k(tmp_path)
        benchmark.check()
        assert [sample.id for sample in benchmark.samples(limit=None, seed=0)] == ["1", "9", "10", "other"]

    def test_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDataset, match="urban1k is not in"):
            urban1k(tmp_path / "no").check()
        with pytest.raises(MissingDataset, match="not laid out"):
            urban1k(tmp_path).check()


def save_coco(folder: Path) -> None:
    images, rows = [], []
    for number, caption in enumerate(CAPTIONS):
        name = f"{number:012}.jpg"
        picture(folder / "val2017" / name, number)
        images.append({"id": number, "file_name": name})
        rows += [{"id": 10 * number + one, "image_id": number, "caption": f"{caption} {one}\n"} for one in range(6)]
    (folder / "annotations").mkdir()
    document = {"images": images, "annotations": rows[::-1]}
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(document))


class TestCoco2017:
    def test_the_first_five_captions_of_each(self, tmp_path: Path) -> None:
        save_coco(tmp_path)
        benchmark = coco2017(tmp_path)
        samples = samples_of(benchmark)
        assert [len(sample.texts) for sample in samples] == [5] * 4
        assert samples[0].texts[0] == f"{CAPTIONS[0]} 5"

    def test_recall_and_what_a_resumed_run_makes_of_its_records(self, tmp_path: Path) -> None:
        save_coco(tmp_path)
        out = tmp_path / "out"
        whole = run_benchmark(coco2017(tmp_path), load_tiny(), EvalSettings(output=out))
        names = {f"r{k}_{way}" for k in (1, 5, 10) for way in ("image_to_text", "text_to_image")}
        assert {metric.name for metric in whole.metrics} == names
        again = run_benchmark(coco2017(tmp_path), load_tiny(), EvalSettings(output=out, resume=True))
        assert again.metrics == whole.metrics

    def test_a_file_of_another_format(self, tmp_path: Path) -> None:
        save_coco(tmp_path)
        (tmp_path / "annotations" / "captions_val2017.json").write_text('{"images": []}')
        with pytest.raises(MissingDataset, match="it lacks 'annotations'"):
            coco2017(tmp_path).check()

    @pytest.mark.parametrize("number", [[1], {}, {"id": 1}])
    def test_a_picture_whose_number_is_none_is_refused(self, tmp_path: Path, number: object) -> None:
        save_coco(tmp_path)
        place = tmp_path / "annotations" / "captions_val2017.json"
        document = json.loads(place.read_text())
        document["images"][1]["id"] = number
        place.write_text(json.dumps(document))
        with pytest.raises(MissingDataset, match="is not COCO's format"):
            coco2017(tmp_path).check()


def save_flickr30k(folder: Path) -> None:
    """Karpathy's split, as its files have it."""
    rows = []
    for number, caption in enumerate(CAPTIONS):
        name = f"{1000 + number}.jpg"
        picture(folder / "flickr30k-images" / name, number)
        sentences = [{"tokens": [], "raw": f"{caption} {one}", "imgid": number, "sentid": one} for one in range(5)]
        split = "train" if number == 1 else "test"
        rows.append({"sentids": [], "imgid": number, "sentences": sentences, "split": split, "filename": name})
    (folder / "dataset_flickr30k.json").write_text(json.dumps({"images": rows, "dataset": "flickr30k"}))


def save_docci(folder: Path) -> None:
    lines = []
    for number, caption in enumerate(CAPTIONS):
        split = "qual_test" if number == 1 else "test"
        row = {"example_id": f"{split}_{number:05}", "split": split, "image_file": f"{split}_{number:05}.jpg"}
        picture(folder / "images" / row["image_file"], number)
        lines.append(json.dumps({**row, "description": f"{caption} It is described at length. "}))
    (folder / "docci_descriptions.jsonlines").write_text("\n".join(lines))


def save_iiw(folder: Path) -> None:
    lines = []
    for number, caption in enumerate(CAPTIONS):
        picture(folder / "images_aar" / f"aar_test_{number:05}.jpg", number)
        lines.append(json.dumps({"image/key": f"aar_test_{number:05}", "IIW": caption, "IIW-P5B": "?", "objects": []}))
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")


class TestDescribedPictures:
    @pytest.mark.parametrize(
        ("name", "save", "texts", "first"),
        [
            ("flickr30k", save_flickr30k, [5, 5, 5], "A red car on a street. 0"),
            ("docci", save_docci, [1, 1, 1], "A red car on a street. It is described at length."),
            ("iiw-400", save_iiw, [1, 1, 1, 1], "A red car on a street."),
        ],
    )
    def test_its_layout(self, tmp_path: Path, name: str, save: Any, texts: list[int], first: str) -> None:
        save(tmp_path)
        benchmark = find_benchmark(name, data_root=tmp_path)
        samples = samples_of(benchmark)
        assert [len(sample.texts) for sample in samples] == texts and samples[0].texts[0] == first
        found = run_benchmark(benchmark, load_tiny(), EvalSettings())
        names = {f"r{k}_{way}" for k in (1, 5, 10) for way in ("image_to_text", "text_to_image")}
        assert {metric.name for metric in found.metrics} == names and found.counts["samples"] == len(texts)
        said = "is another version than the published one" if name == "iiw-400" else "not tried on the real files"
        assert any(said in note for note in found.notes)

    def test_rows_that_are_not_as_they_should_be_are_counted(self, tmp_path: Path) -> None:
        save_docci(tmp_path)
        file = tmp_path / "docci_descriptions.jsonlines"
        bad = ["no json", "[1]", '{"split": "test"}', '{"split": "test", "image_file": "x.jpg", "description": " "}']
        file.write_text("\n".join([*bad, file.read_text()]))
        counts = run_benchmark(find_benchmark("docci", data_root=tmp_path), load_tiny(), EvalSettings()).counts
        assert counts == {"samples": 3, "unreadable": 4}

    def test_a_document_without_the_list_is_refused(self, tmp_path: Path) -> None:
        save_flickr30k(tmp_path)
        (tmp_path / "dataset_flickr30k.json").write_text('{"annotations": []}')
        with pytest.raises(MissingDataset, match="is not flickr30k's format: it lacks 'images'"):
            find_benchmark("flickr30k", data_root=tmp_path).check()

    @pytest.mark.skipif(not SHARED.is_dir(), reason="the published file is not here")
    def test_the_published_descriptions_of_iiw(self, tmp_path: Path) -> None:
        (tmp_path / "data.jsonl").symlink_to(SHARED / "eval" / "iiw-400" / "data.jsonl")
        (tmp_path / "images_aar").mkdir()
        benchmark = find_benchmark("iiw-400", data_root=tmp_path)
        samples = samples_of(benchmark)
        assert len(samples) == 400 and benchmark.notes == ()
        assert samples[0].image_name == "aar_test_04600.jpg"
        assert samples[0].texts[0].startswith("A close-up outdoor shot shows")
        assert min(len(sample.texts[0].split()) for sample in samples) > 20
