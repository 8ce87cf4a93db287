"""Vectors on disk: what they depend on, that nothing in the folder is trusted, its size, and runs that read them."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch.nn import functional as F  # noqa: N812

from clipalign.errors import ClipalignError, ImageUnreadable
from clipalign.files import part_beside
from clipalign.methods.classify import ClassifyScorer
from clipalign.methods.scores import Scorer
from clipalign.models import vector_store
from clipalign.models.encode import EncodedPicture
from clipalign.models.vector_store import DamagedEntry, VectorStore, entry_bytes, forget_oldest, picture_key, read_entry
from clipalign.results import KEPT_NOTE, DetectResult, LongResult
from clipalign.session import Session
from tests.cli.run import TINY, run_here
from tests.tiny import hashed, load_random, load_tiny

TEXT = "A red car stands there. Two dogs sit."


def encoded(rows: int = 1, width: int = 8) -> EncodedPicture:
    boxes = tuple((n, 0, n + 2, 2) for n in range(rows - 1))
    return EncodedPicture(F.normalize(torch.randn(rows, width), dim=-1), boxes, (30, 20))


def store(folder: Path, key: dict[str, object] | None = None, keep_gb: float = 1) -> VectorStore:
    return VectorStore({"weights": "w"} if key is None else key, keep_gb=keep_gb, cache_dir=folder)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    found = [folder / f"{n}.jpg" for n in range(5)]
    for n, path in enumerate(found):
        Image.effect_mandelbrot((60 + n, 50), (-2 + n / 5, -1, 1, 1), 20).convert("RGB").save(path)
    return found


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that batch runs decode."""
    from clipalign.data import images

    found: list[str] = []
    whole = images.open_image

    def noted(*given: Any, **more: Any) -> Image.Image:
        found.append(str(more.get("name")))
        return whole(*given, **more)

    monkeypatch.setattr(images, "open_image", noted)
    return found


# --- one entry -------------------------------------------------------------------------------------------------------


def test_what_was_kept_is_read_to_the_last_bit(tmp_path: Path) -> None:
    picture = encoded(4)
    key: dict[str, object] = {"crops": 3}
    assert store(tmp_path, key).get("a") is None
    assert store(tmp_path, key).keep("a", picture) is picture
    found = store(tmp_path, key).get("a")
    assert found is not None and torch.equal(found.vectors, picture.vectors)
    assert (found.boxes, found.size, found.is_kept) == (picture.boxes, picture.size, True)
    assert store(tmp_path, key).get("b") is None


def test_the_first_of_two_is_the_one_that_all_records_use(tmp_path: Path) -> None:
    first, second = encoded(), encoded()
    store(tmp_path).keep("a", first)
    assert torch.equal(store(tmp_path).keep("a", second).vectors, first.vectors)


def test_nothing_is_kept_without_a_key_a_size_or_an_identity(tmp_path: Path) -> None:
    for one, identity in ((VectorStore(), "a"), (store(tmp_path, keep_gb=0), "a"), (store(tmp_path), "")):
        one.keep(identity, encoded())
        assert one.get(identity) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "other"},
        {"architecture": "other"},
        {"quick_gelu": False},
        {"image_size": 99},
        {"mean": (0.0, 0.0, 0.0)},
        {"std": (1.0, 1.0, 1.0)},
        {"interpolation": "bilinear"},
        {"resize_mode": "squash"},
        {"fill_color": 9},
        {"config": {"vision_cfg": {"head_width": 32}}},
        {"choice": {"device": "cuda:0"}},
        {"choice": {"precision": "bf16"}},
        {"choice": {"engine": "openvino"}},
        {"crops": 2},
        {"alpha": 0.3},
        {"seed": 1},
        {"versions": {"pillow": "1"}},
    ],
    ids=str,
)
def test_whatever_changes_a_vector_changes_its_key(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_store, "versions", lambda engine: {"pillow": "0"})  # OpenVINO may not be here
    loaded, cut = hashed(load_tiny()), {"crops": 3, "alpha": 0.5, "seed": 0}
    key = picture_key(loaded, **cut)  # type: ignore[arg-type]
    if change.keys() <= cut.keys():
        assert picture_key(loaded, **cut | change) != key
        return
    if "versions" in change:
        monkeypatch.setattr(vector_store, "versions", lambda engine: change["versions"])
    elif "choice" in change:
        loaded = replace(loaded, choice=replace(loaded.choice, **change["choice"]))
    else:
        loaded = replace(loaded, **change)
    assert picture_key(loaded, **cut) != key  # type: ignore[arg-type]


def test_what_changes_no_vector_changes_no_key() -> None:
    loaded = hashed(load_tiny())
    same = replace(loaded, context_tokens=248, config={"text_cfg": {"context_length": 248}}, notes=("a note",))
    same.choice = replace(loaded.choice, threads=2, reason="another")
    assert picture_key(same) == picture_key(loaded) is not None
    assert picture_key(load_tiny()) is None  # weights that a program holds may change without a word


@pytest.mark.parametrize("exif", [True, False])
def test_the_orientation_counts_where_there_may_be_one(tmp_path: Path, exif: bool) -> None:
    one = store(tmp_path)
    plain = b"\xff\xd8\xff\xe0 a picture"
    assert one.identity(plain, exif=exif) == one.identity(plain, exif=not exif)
    for turned in (b"\xff\xd8\xff\xe1\0\0Exif\0\0", b"\xff\xd8 <x tiff:Orientation='6'/>", b"\x89PNG"):
        assert one.identity(turned, exif=exif) != one.identity(turned, exif=not exif)


# --- a folder that nobody vouches for --------------------------------------------------------------------------------


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, str], None]:
    """Write the entry anew, its digest right, as only a program that means it would."""

    def damage(file: Path, name: str) -> None:
        arrays = load_file(file)
        del arrays["sha256"]
        change(arrays)
        file.write_bytes(vector_store.entry_bytes(name, arrays))

    return damage


def without_digest(file: Path, name: str) -> None:
    save_file({key: array for key, array in load_file(file).items() if key != "sha256"}, file)


DAMAGE: dict[str, Callable[[Path, str], Any]] = {
    "cut": lambda file, _: file.write_bytes(file.read_bytes()[:-9]),
    "empty": lambda file, _: file.write_bytes(b""),
    "noise": lambda file, _: file.write_bytes(b"\xff" * 500),
    "bit": lambda file, _: file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1])),
    "endless": lambda file, _: file.write_bytes(bytes(70_000_000)),
    "pickle": lambda file, _: torch.save({"vectors": torch.zeros(3, 8)}, file),
    "undigested": without_digest,
    "of another name": lambda file, name: rewritten(lambda arrays: None)(file, f"{name}x"),
    "nan": rewritten(lambda arrays: arrays["vectors"].fill(numpy.nan)),
    "long": rewritten(lambda arrays: arrays.update(vectors=2 * arrays["vectors"])),
    "fewer": rewritten(lambda arrays: arrays.update(vectors=arrays["vectors"][:2])),
    "double": rewritten(lambda arrays: arrays.update(vectors=arrays["vectors"].astype(numpy.float64))),
    "no vectors": rewritten(lambda arrays: arrays.pop("vectors")),
    "box outside": rewritten(lambda arrays: arrays["boxes"].__setitem__((0, 2), 31)),
    "box inside out": rewritten(lambda arrays: arrays["boxes"].__setitem__((1, 2), 1)),
    "no size": rewritten(lambda arrays: arrays["size"].fill(0)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_entry_that_is_not_what_it_should_be_is_made_again_with_a_word(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    key: dict[str, object] = {"crops": 2}
    store(tmp_path, key).keep("a", encoded(3))
    (file,) = files(tmp_path)
    DAMAGE[damage](file, file.parent.name + file.stem)
    assert store(tmp_path, key).get("a") is None
    assert "damaged and are made again" in caplog.text
    again = encoded(3)
    store(tmp_path, key).keep("a", again)
    found = store(tmp_path, key).get("a")
    assert found is not None and torch.equal(found.vectors, again.vectors)


def test_no_more_memory_is_taken_than_an_entry_has_bytes(tmp_path: Path) -> None:
    file = tmp_path / "entry"
    file.write_bytes(entry_bytes("a", {"numbers": numpy.arange(3)}))
    found = read_entry(file, "a", limit_bytes=1 << 60)
    assert found is not None and found["numbers"].tolist() == [0, 1, 2]
    with pytest.raises(DamagedEntry):
        read_entry(file, "a", limit_bytes=file.stat().st_size - 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_or_a_folder_in_the_place_of_an_entry_is_none(tmp_path: Path) -> None:
    for make in (os.mkfifo, os.mkdir):
        store(tmp_path).keep("a", encoded())
        (file,) = files(tmp_path)
        file.unlink()
        make(file)
        assert store(tmp_path).get("a") is None
        file.unlink() if file.is_fifo() else file.rmdir()


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "image-vectors").write_text("a file where a folder should be")
    one = store(tmp_path)
    for identity in "ab":
        one.keep(identity, encoded())
        assert one.get(identity) is None
    assert caplog.text.count("vectors of images are not kept") == 1


# --- its size --------------------------------------------------------------------------------------------------------


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    for age, identity in ((300, "a"), (200, "b"), (100, "c")):
        store(tmp_path).keep(identity, encoded())
        newest = max(files(tmp_path), key=lambda file: file.stat().st_mtime)
        os.utime(newest, (0, newest.stat().st_mtime - age))
    assert store(tmp_path).get("a") is not None  # used just now
    assert forget_oldest(tmp_path, 2 * 4096) == 2 * 4096
    assert [store(tmp_path).get(identity) is not None for identity in "abc"] == [True, False, True]


def test_the_folder_stays_below_its_limit_while_a_run_goes_on(tmp_path: Path) -> None:
    limit = 16 * 20_000
    one = store(tmp_path, keep_gb=limit / 1e9)
    for number in range(150):
        one.keep(str(number), encoded())
        assert sum(-(-file.stat().st_size // 4096) * 4096 for file in files(tmp_path)) <= limit
        for file in files(tmp_path):  # a second apart, as 150 pictures of a large model are
            os.utime(file, (0, file.stat().st_mtime - 1))
    assert len(files(tmp_path)) >= 60
    assert one.get("149") is not None and one.get("0") is None


def test_a_vector_too_large_for_the_folder_is_not_kept(tmp_path: Path) -> None:
    store(tmp_path, {"crops": 99}, keep_gb=1e-4).keep("a", encoded(100))
    assert not files(tmp_path)


def test_nothing_outside_the_folder_is_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.safetensors").write_bytes(b"1" * 9000)
    store(tmp_path).keep("a", encoded())
    (tmp_path / "image-vectors" / "ff").symlink_to(outside)
    part_beside(tmp_path / "image-vectors" / "of-a-kill").write_bytes(b"1" * 9000)
    assert forget_oldest(tmp_path / "image-vectors", 0) == 0
    assert (outside / "mine.safetensors").exists()
    assert not files(tmp_path / "image-vectors") and not list(tmp_path.rglob("*.part"))


def test_models_of_the_user_stay_where_the_folder_is_a_link_to_theirs(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("my-model.safetensors", "download.part"):
        (models / name).write_bytes(b"1" * 9000)
    (tmp_path / "image-vectors").symlink_to(models)
    store(tmp_path).keep("a", encoded())
    assert len(files(models)) == 2
    assert forget_oldest(tmp_path / "image-vectors", 0) == 0
    assert sorted(one.name for one in models.iterdir() if one.is_file()) == ["download.part", "my-model.safetensors"]


def _fill(folder: Path) -> None:
    one = store(folder, keep_gb=0.0005)
    for identity in range(200):
        torch.manual_seed(identity)
        picture = encoded()
        one.keep(str(identity), picture)
        found = one.get(str(identity))
        assert found is None or torch.equal(found.vectors, picture.vectors)  # None where another process forgot it


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    context: Any = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    processes = [context.Process(target=_fill, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert files(tmp_path)


# --- runs ------------------------------------------------------------------------------------------------------------


def session(folder: Path, **more: Any) -> Session:
    return Session(hashed(load_tiny()), cache_dir=folder, keep_vectors=1, **more)


def scorers(one: Session) -> dict[str, Scorer[Any]]:
    return {
        "detect": one.scorer("detect"),
        "score-long": one.scorer("score-long"),
        "clip": one.scorer("classify", labels=["a car", "a dog"], method="clip"),
    }


def answers(one: Session, scorer: Scorer[Any], photos: list[Path]) -> list[Any]:
    pairs = [(path, TEXT) for path in photos]
    needs_text = not isinstance(scorer, ClassifyScorer)
    return list(one.run(scorer, pairs if needs_text else photos, needs_text=needs_text))


@pytest.mark.parametrize("method", ["detect", "score-long", "clip"])
@pytest.mark.parametrize("then", ["detect", "score-long", "clip"])
def test_a_second_run_decodes_and_encodes_nothing_and_finds_the_same(
    tmp_path: Path, photos: list[Path], decoded: list[str], method: str, then: str
) -> None:
    one, free = session(tmp_path), Session(hashed(load_tiny()))
    first = answers(one, scorers(one)[method], photos)
    assert sorted(decoded) == sorted(map(str, photos))
    second = answers(one, scorers(one)[then], photos)
    assert len(decoded) == len(photos)
    expected = first if then == method else answers(free, scorers(free)[then], photos)
    for kept, new in zip(second, expected, strict=True):
        assert kept.provenance.notes == (*new.provenance.notes, KEPT_NOTE)
        kept = replace(kept, provenance=new.provenance)
        if then == method:
            assert kept == new  # to the last bit
        elif isinstance(kept, DetectResult | LongResult):
            assert kept.cosine == pytest.approx(new.cosine, abs=1e-6)
        else:
            assert kept.image_size == new.image_size and kept.label == new.label


def test_crops_are_kept_with_their_places(tmp_path: Path, photos: list[Path], decoded: list[str]) -> None:
    one = session(tmp_path)
    described = {"a car": ["it has wheels", "it is red"], "a dog": ["it barks"]}
    scorer = one.scorer("classify", descriptions=described, crops=3, explain=True, seed=5)
    first = answers(one, scorer, photos)
    second = answers(one, scorer, photos)
    assert len(decoded) == len(photos)
    assert [replace(result, provenance=scorer.provenance) for result in second] == first
    answers(one, one.scorer("classify", descriptions=described, crops=4, seed=5), photos)
    assert len(decoded) == 2 * len(photos)


def test_pictures_that_a_program_holds_are_known_by_their_pixels(tmp_path: Path, photos: list[Path]) -> None:
    one = session(tmp_path)
    for kept in (False, True):
        with Image.open(photos[0]) as picture:
            found = one.detect(picture, TEXT)
        assert (KEPT_NOTE in found.provenance.notes) is kept


def test_what_cannot_be_read_is_told_as_before(tmp_path: Path, photos: list[Path]) -> None:
    one = session(tmp_path)
    answers(one, scorers(one)["detect"], photos)
    photos[1].write_bytes(photos[1].read_bytes()[:300])
    photos[2].unlink()
    outcomes = [getattr(result, "error", None) for result in answers(one, scorers(one)["detect"], photos)]
    assert [type(error) for error in outcomes] == [type(None), ImageUnreadable, ImageUnreadable, *[type(None)] * 2]
    assert all(isinstance(error, ClipalignError) for error in outcomes[1:3])


def test_heat_maps_need_the_picture(tmp_path: Path, photos: list[Path], decoded: list[str]) -> None:
    one = Session(replace(load_random("clip"), row=hashed(load_tiny()).row, weights_sha256="x"), cache_dir=tmp_path)
    one = replace(one, keep_vectors=1)
    for count in (1, 2):
        assert one.detect(photos[0], TEXT, explain=True).heat_maps
        assert len(decoded) == count
    assert not files(tmp_path)


def test_the_command_keeps_resumes_and_draws_pages(
    tmp_path: Path, photos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    table, output = tmp_path / "pairs.jsonl", tmp_path / "found.jsonl"
    table.write_text("".join(json.dumps({"image": str(path), "text": TEXT}) + "\n" for path in photos))
    line = ("detect", "--input", str(table), "--model", TINY, "--cache-dir", str(tmp_path), "--keep-vectors", "1")
    first = run_here(capsys, *line, "--format", "jsonl")
    assert run_here(capsys, *line, "--output", str(output)).status == 0
    records = [json.loads(text) for text in output.read_text().splitlines()]
    assert all(KEPT_NOTE in record["provenance"]["notes"] for record in records)
    assert [record["words"] for record in records] == [json.loads(text)["words"] for text in first.out.splitlines()]
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:2]))  # a run that was cut short, and went on without the option
    assert run_here(capsys, *line[:-2], "--output", str(output), "--resume").status == 0
    assert len(output.read_text().splitlines()) == len(photos)
    assert run_here(capsys, *line, "--output", str(tmp_path / "found.html")).status == 0
    assert (tmp_path / "found.html").read_text().count("data:image/jpeg") == len(photos)
    refused = run_here(capsys, "detect", str(photos[0]), "a car", "--model", TINY, "--keep-vectors", "1")
    assert refused.status == 2 and "--keep-vectors is for many pairs" in refused.err


def test_a_picture_decoded_at_reduced_scale_is_not_the_whole_one(tmp_path: Path, decoded: list[str]) -> None:
    Image.effect_mandelbrot((900, 900), (-2, -1, 1, 1), 20).convert("RGB").save(tmp_path / "a.jpg")
    one = session(tmp_path)
    exact, fast = (one.detect(tmp_path / "a.jpg", TEXT, fast_decode=fast) for fast in (False, True))
    assert len(decoded) == 2 and exact.cosine != fast.cosine
    assert one.detect(tmp_path / "a.jpg", TEXT, fast_decode=True).cosine == fast.cosine
    assert len(decoded) == 2
