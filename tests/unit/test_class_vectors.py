"""Class vectors: the formula, what they do not depend on, and a cache that never lies."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F  # noqa: N812

from clipalign.data.class_texts import ClassTexts
from clipalign.models import class_vectors as room
from clipalign.models.class_vectors import class_vectors, describe_class, text_weights
from clipalign.models.encode import encode_texts
from clipalign.models.model import LoadedModel
from tests.tiny import hashed, load_tiny

CLASSES = (
    ClassTexts("cat", ("A cat has fur.", "It purrs.", "A cat has fur."), "a photo of a cat."),
    ClassTexts("dog", ("A dog barks.", "A dog has fur."), "a photo of a dog."),
    ClassTexts("car", ("a photo of a car.",)),
)


@pytest.fixture
def loaded() -> LoadedModel:
    """The tiny model with an identity, without which nothing is kept."""
    return hashed(load_tiny())


def vectors(loaded: LoadedModel, classes: Any = CLASSES, **settings: Any) -> room.ClassVectors:
    return class_vectors(loaded, classes, **{"logscale": 2.0, **settings})


class TestFormula:
    def test_a_class_is_the_weighted_mean_of_its_texts(self, loaded: LoadedModel) -> None:
        found = vectors(loaded).vectors
        for row, one in zip(found, CLASSES, strict=True):
            texts = torch.stack([encode_texts(loaded, [text])[0] for text in one.texts])
            weights = [1.0] * len(texts)
            if one.label:
                label = encode_texts(loaded, [one.label])[0]
                weights = [math.exp(math.exp(2.0) * float(label @ text)) for text in texts]
            total = (torch.tensor(weights)[:, None] * texts).sum(dim=0)
            assert torch.allclose(row, F.normalize(total, dim=0), atol=1e-6)

    def test_a_text_that_is_there_twice_counts_twice(self) -> None:
        weights = text_weights(F.normalize(torch.randn(3, 8)[[0, 1, 0]]), torch.ones(8), 2.0)
        assert weights[0] == weights[2] and float(weights.sum()) == pytest.approx(1.0)

    def test_a_description_of_a_class_repeats_its_vector(self, loaded: LoadedModel) -> None:
        for row, one in zip(vectors(loaded).vectors, CLASSES, strict=True):
            described = describe_class(loaded, one, logscale=2.0)
            total = described.weights @ described.texts
            assert torch.allclose(total / described.norm, row, atol=1e-6)

    def test_neither_batches_nor_groups_nor_neighbors_matter(
        self, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = vectors(loaded).vectors
        assert torch.allclose(vectors(loaded, batch_size=1).vectors, whole, atol=1e-6)
        assert torch.allclose(vectors(loaded, CLASSES[::-1]).vectors.flip(0), whole, atol=1e-6)
        monkeypatch.setattr(room, "_GROUP_TEXTS", 2)
        assert torch.allclose(vectors(loaded).vectors, whole, atol=1e-6)

    def test_progress_counts_each_distinct_text(self, loaded: LoadedModel) -> None:
        done: list[int] = []
        vectors(loaded, batch_size=2, progress=done.append)
        assert sum(done) == 7 and max(done) == 2

    def test_texts_beyond_the_context_are_counted(self, loaded: LoadedModel) -> None:
        assert vectors(loaded).truncated == 0
        assert vectors(loaded, [ClassTexts("cat", ("cat " * 100, "cat"))]).truncated == 1


class TestCache:
    def only(self, folder: Path) -> Path:
        (file,) = folder.glob("*")
        return file

    def test_what_was_made_is_read_back_to_the_last_bit(self, loaded: LoadedModel, tmp_path: Path) -> None:
        made, read = (vectors(loaded, cache=tmp_path) for _ in range(2))
        assert (made.cached, read.cached) == (False, True)
        assert torch.equal(made.vectors, read.vectors)

    def test_truncated_texts_are_remembered(self, loaded: LoadedModel, tmp_path: Path) -> None:
        long = [ClassTexts("cat", ("cat " * 100,))]
        assert [vectors(loaded, long, cache=tmp_path).truncated for _ in range(2)] == [1, 1]

    @pytest.mark.parametrize(
        "change",
        [
            {"classes": CLASSES[:2]},
            {"classes": CLASSES[::-1]},
            {"classes": (dataclasses.replace(CLASSES[0], texts=("A cat has fur!",)), *CLASSES[1:])},
            {"classes": (dataclasses.replace(CLASSES[0], label="a cat"), *CLASSES[1:])},
            {"logscale": 3.0},
            {"model": {"weights_sha256": "other"}},
            {"model": {"architecture": "other"}},
            {"model": {"context_tokens": 76}},
        ],
        ids=str,
    )
    def test_whatever_changes_the_numbers_misses(
        self, loaded: LoadedModel, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        vectors(loaded, cache=tmp_path)
        model = dataclasses.replace(loaded, **change.pop("model", {}))
        assert not vectors(model, **change, cache=tmp_path).cached

    def test_names_and_batches_change_no_number_and_hit(self, loaded: LoadedModel, tmp_path: Path) -> None:
        vectors(loaded, cache=tmp_path)
        renamed = [dataclasses.replace(one, name=one.name.upper()) for one in CLASSES]
        assert vectors(loaded, renamed, cache=tmp_path, batch_size=1).cached

    @pytest.mark.parametrize("damage", ["cut", "empty", "noise", "bit", "shape", "stale", "unsaid"])
    def test_a_damaged_or_stale_file_is_made_again_with_a_word(
        self, loaded: LoadedModel, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole = vectors(loaded, cache=tmp_path).vectors
        file = self.only(tmp_path)
        content = file.read_bytes()
        if damage == "cut":
            file.write_bytes(content[:-40])
        elif damage == "empty":
            file.write_bytes(b"")
        elif damage == "noise":
            file.write_bytes(b"\xff" * 500)
        elif damage == "bit":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif damage == "shape":
            whole_file = load_file(file)
            save_file({**whole_file, "vectors": whole_file["vectors"][:2]}, file)
        elif damage == "stale":
            other = tmp_path / "other"
            vectors(loaded, CLASSES[:2], cache=other)
            file.write_bytes(self.only(other).read_bytes())
        else:
            save_file({"vectors": load_file(file)["vectors"]}, file)
        with caplog.at_level(logging.WARNING):
            again = vectors(loaded, cache=tmp_path)
        assert not again.cached and torch.equal(again.vectors, whole)
        assert "made again" in caplog.text and str(file) in caplog.text
        assert vectors(loaded, cache=tmp_path).cached

    def test_weights_without_a_hash_are_never_kept(self, tmp_path: Path) -> None:
        vectors(load_tiny(), cache=tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_cannot_be_written_costs_nothing_but_time(self, loaded: LoadedModel, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert not vectors(loaded, cache=tmp_path / "file").cached

    def test_a_folder_that_may_not_be_searched_costs_nothing_but_time(
        self, loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vectors(loaded, cache=tmp_path)

        def closed(file: Path) -> None:
            raise PermissionError(13, "Permission denied", str(file))

        monkeypatch.setattr("clipalign.models.vector_store.open_plain", closed)
        assert not vectors(loaded, cache=tmp_path).cached

    def test_nothing_half_written_stays(
        self, loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*arguments: Any, **options: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(room, "write_kept", full)
        assert not vectors(loaded, cache=tmp_path).cached
        assert not list(tmp_path.iterdir())

    def test_a_file_that_another_process_deletes_meanwhile_is_passed_over(
        self, loaded: LoadedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nothing")  # listed, but not there to be looked at
        with caplog.at_level(logging.INFO):
            vectors(loaded, cache=tmp_path)
        assert "could not be kept" not in caplog.text
        assert vectors(loaded, cache=tmp_path).cached

    def test_a_long_text_of_distant_classes_is_one_that_was_cut(
        self, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(room, "_GROUP_TEXTS", 1)
        assert vectors(loaded, [ClassTexts(name, ("cat " * 100,)) for name in "abc"]).truncated == 1

    def test_the_files_used_longest_ago_go_first(
        self, loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for age, classes in ((300, CLASSES[:1]), (200, CLASSES[:2])):
            vectors(loaded, classes, cache=tmp_path)
            newest = max(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime)
            os.utime(newest, (newest.stat().st_atime, newest.stat().st_mtime - age))
        assert vectors(loaded, CLASSES[:1], cache=tmp_path).cached  # used just now
        monkeypatch.setattr(room, "CACHE_BYTES", 2 * 4096)
        vectors(loaded, cache=tmp_path)
        assert vectors(loaded, cache=tmp_path).cached and vectors(loaded, CLASSES[:1], cache=tmp_path).cached
        assert not vectors(loaded, CLASSES[:2], cache=tmp_path).cached
