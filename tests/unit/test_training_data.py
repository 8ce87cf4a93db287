"""Training samples: raw captions in every format, growing beginnings with wrong details, and the order of reading."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipalign.errors import InputUnreadable, UsageError
from clipalign.eval_results import PreparationResult
from clipalign.files import part_beside
from clipalign.pictogram.export import clip_encoder
from clipalign.training import prepare as specs_prepare
from clipalign.training.data import (
    DATA_FILE,
    OFFSETS_FILE,
    SAMPLES_FILE,
    Order,
    PictogramData,
    open_data,
)
from clipalign.training.prepare import prepare
from clipalign.training.raw import RawCaption, Skipped, open_source
from clipalign.training.settings import PrepareSettings

TEXTS = (
    "A wooden table stands near a bright window. On it there is a blue cup, filled with coffee.",
    "Two children build a castle. The older one digs a hole with a shovel, while a dog runs along.",
    "A grey cat sleeps on a red sofa. Behind it hangs a picture of a ship, and a lamp stands beside it.",
    "A narrow street with parked bicycles. A woman in a green coat walks by, carrying a basket of bread.",
)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """JSON lines of twelve pictures that are there, and of what is wrong with raw data."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    lines: list[Any] = []
    for number in range(12):
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(pictures / f"{number}.png")
        lines.append(
            {"image": f"pictures/{number}.png", "text": TEXTS[number % 4] + f" Number {number} is written there."}
        )
    lines += [{"image": "pictures/gone.png", "text": TEXTS[0]}, {"image": "pictures/0.png", "text": "a cat"}]
    lines += [{"image": "pictures/0.png"}, {"text": TEXTS[0]}, 7]
    path = tmp_path / "raw.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{torn\n", encoding="utf-8")
    return path


def prepared(raw: Path, folder: Path, **settings: Any) -> PreparationResult:
    return prepare(open_source(raw), folder, PrepareSettings(**settings))


def samples(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / SAMPLES_FILE).read_text(encoding="utf-8").splitlines()]


# --- preparation ------------------------------------------------------------------------------------------------------


def test_beginnings_grow_and_each_but_the_last_has_a_wrong_detail_of_another_picture(raw: Path, tmp_path: Path) -> None:
    found = prepared(raw, tmp_path / "data", by="sentence")
    assert found.samples == 12
    texts = {sample["image"]: sample["caption"] for sample in samples(found.folder)}
    for sample in samples(found.folder):
        captions, negatives = sample["captions"], sample["neg_captions"]
        assert len(captions) == len(negatives) + 1 == 3
        assert captions[-1] == sample["caption"]
        for shorter, longer in pairwise(captions):
            assert longer.startswith(f"{shorter} ")
        for place, (beginning, negative) in enumerate(zip(captions, negatives, strict=False)):
            assert negative.startswith(f"{beginning} ")
            wrong = sorted(negative[len(beginning) :].split())
            others = [text for image, text in texts.items() if image != sample["image"]]
            assert any(sorted(pieces(text)[place].split()) == wrong for text in others)


def test_a_text_that_utf_8_cannot_carry_is_left_out(raw: Path, tmp_path: Path) -> None:
    with raw.open("a") as file:
        file.write('{"image": "pictures/0.png", "text": "One thing. Another \\udcff thing."}\n')
    assert prepared(raw, tmp_path / "data").skipped["not valid UTF-8"] == 1


def test_a_picture_under_a_name_that_no_file_can_have_is_missing(raw: Path, tmp_path: Path) -> None:
    with raw.open("a") as file:
        file.write(json.dumps({"image": "x" * 300 + ".png", "text": "One thing. Another thing."}) + "\n")
    assert prepared(raw, tmp_path / "data").skipped["missing picture"] == 2


def pieces(text: str) -> list[str]:
    return [f"{piece}." for piece in text.rstrip(".").split(". ")]


def test_words_of_wrong_details_are_shuffled_in_the_first_nine_tenths_only(raw: Path, tmp_path: Path) -> None:
    prepared(raw, tmp_path / "data", by="sentence")
    known = {piece for text in (sample["caption"] for sample in samples(tmp_path / "data")) for piece in pieces(text)}
    whole = [
        all(
            negative[len(beginning) + 1 :] in known
            for beginning, negative in zip(sample["captions"], sample["neg_captions"], strict=False)
        )
        for sample in samples(tmp_path / "data")
    ]
    assert whole == [False] * 10 + [True] * 2  # int(0.9 * 12) of them, as published


@pytest.mark.parametrize(("share", "count"), [(0.0, 12), (0.5, 6), (1.0, 0)])
def test_the_share_of_shuffled_samples_is_a_setting(raw: Path, tmp_path: Path, share: float, count: int) -> None:
    plain, asked = (prepared(raw, tmp_path / str(one), by="sentence", shuffled=one).folder for one in (0.0, share))
    same = [a == b for a, b in zip(samples(plain), samples(asked), strict=True)]
    assert same[12 - count :] == [True] * count
    assert not any(same[: 12 - count])


def test_short_sentences_and_what_is_beyond_the_limit_are_left_out(raw: Path, tmp_path: Path) -> None:
    filtered = samples(prepared(raw, tmp_path / "filtered", by="sentence", min_words=6).folder)
    assert not any("is written there" in text for sample in filtered for text in sample["captions"])
    assert all("is written there" in sample["caption"] for sample in filtered)
    few = samples(prepared(raw, tmp_path / "few", limit=5).folder)
    assert [sample["image"] for sample in few] == [f"pictures/{number}.png" for number in range(5)]


def test_what_is_left_out_is_counted_by_reason_with_an_example(raw: Path, tmp_path: Path) -> None:
    found = prepared(raw, tmp_path / "data")
    assert found.skipped == {
        "missing picture": 1, "single phrase": 1, "no text": 1, "no image": 1, "not an object": 1, "not valid JSON": 1,
    }  # fmt: skip
    assert found.examples["missing picture"] == "pictures/gone.png"
    assert found.examples["not valid JSON"] == "raw.jsonl:18"


def test_no_text_is_longer_than_the_context(raw: Path, tmp_path: Path) -> None:
    prepared(raw, tmp_path / "data", caption_tokens=30)
    encode = clip_encoder()
    for sample in samples(tmp_path / "data"):
        assert all(len(encode(text)) <= 28 for text in (*sample["captions"], *sample["neg_captions"]))


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(raw: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        prepared(raw, tmp_path / name, seed=seed)
    one, same, other = (samples(tmp_path / name) for name in "abc")
    assert one == same
    assert one != other


@pytest.mark.parametrize("workers", [1, 2])
def test_a_preparation_that_was_stopped_goes_on(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(specs_prepare, "PART_RECORDS", 5)
    prepared(raw, tmp_path / "whole")
    cut, done = specs_prepare.cut_part, list[Any]()

    def breaks(records: Any, **settings: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(records)
        return cut(records, **settings)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(specs_prepare, "cut_part", breaks)
        prepared(raw, tmp_path / "data")
    log = tmp_path / "data" / specs_prepare.PHRASES_FILE
    assert log.read_bytes().count(b"\n") == 10
    with log.open("ab") as file:
        file.write(b'{"image": "torn')
    assert not (tmp_path / "data" / DATA_FILE).exists()
    found = prepare(open_source(raw), tmp_path / "data", PrepareSettings(), workers=workers)
    assert samples(found.folder) == samples(tmp_path / "whole")
    assert found.skipped["missing picture"] == 1


def test_other_settings_are_refused_and_finished_data_are_left_alone(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*arguments: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(specs_prepare, "cut_part", breaks)
        prepared(raw, tmp_path / "data")
    with pytest.raises(UsageError, match="was begun with other settings: seed was 0, now it is 1"):
        prepared(raw, tmp_path / "data", seed=1)
    whole = prepared(raw, tmp_path / "data")
    written = (tmp_path / "data" / SAMPLES_FILE).stat().st_mtime_ns
    again = prepared(raw, tmp_path / "data")
    assert (again.samples, again.skipped) == (whole.samples, whole.skipped)
    assert again.finished_before and not whole.finished_before
    assert (tmp_path / "data" / SAMPLES_FILE).stat().st_mtime_ns == written
    with pytest.raises(UsageError, match="was prepared with other settings: seed was 0, now it is 1"):
        prepared(raw, tmp_path / "data", seed=1)


def test_a_preparation_killed_in_its_first_or_last_moment_goes_on(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    part_beside(folder / specs_prepare.PLAN_FILE).write_text('{"sou')
    whole = prepared(raw, folder)
    assert {file.name for file in folder.iterdir()} == {
        DATA_FILE, SAMPLES_FILE, OFFSETS_FILE, specs_prepare.PLAN_FILE
    }  # fmt: skip
    (folder / specs_prepare.PHRASES_FILE).touch()
    assert prepared(raw, folder)[:3] == whole[:3]
    assert not (folder / specs_prepare.PHRASES_FILE).exists()


CUTTERS = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from clipalign.training.prepare import _end_with_parent
if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_processes_that_cut_captions_end_with_the_one_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "cutters.py"
    script.write_text(CUTTERS)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        cutter = int(process.stdout.readline())
        os.kill(cutter, 0)
        process.kill()
        until = time.monotonic() + 20
        while time.monotonic() < until and _is_running(cutter):
            time.sleep(0.02)
        assert not _is_running(cutter)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except ProcessLookupError:
        return False
    except OSError:  # no such list of processes here
        return True
    return state != "Z"


def test_data_without_one_usable_record_says_why(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_text(json.dumps({"image": "gone.png", "text": TEXTS[0]}) + "\n")
    with pytest.raises(UsageError, match="gives no sample: 1 missing picture"):
        prepared(path, tmp_path / "data")


def test_several_captions_of_one_picture_have_no_other_to_take_wrong_details_from(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps({"image": "pictures/0.png", "text": text}) + "\n" for text in TEXTS))
    with pytest.raises(UsageError, match="gives no sample: 4 only picture"):
        prepared(path, tmp_path / "data")


def test_after_pictures_were_looked_for_in_the_wrong_place_the_folder_is_free(raw: Path, tmp_path: Path) -> None:
    source, folder = open_source(raw), tmp_path / "data"
    with pytest.raises(UsageError, match="gives no sample"):
        prepare(source, folder, PrepareSettings(), image_root=tmp_path / "wrong")
    assert list(folder.iterdir()) == []
    assert prepare(source, folder, PrepareSettings()).samples


# --- sources ----------------------------------------------------------------------------------------------------------


def test_share_gpt4v_is_an_array_of_conversations(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "What is there?\n<image>"}, {"from": "gpt", "value": TEXTS[0]}]
    path = tmp_path / "share.json"
    records = [{"id": "1", "image": "coco/train2017/1.jpg", "conversations": turns}, {"image": "2.jpg"}]
    path.write_text(json.dumps(records))
    source = open_source(path)
    assert source.image_root == tmp_path
    assert list(source.records(str)) == [
        RawCaption("coco/train2017/1.jpg", TEXTS[0]),
        Skipped("no text", "share.json:1"),
    ]


def test_an_array_that_is_cut_short_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text('[\n{"image": "1.jpg", "caption": "a cat"},\n')
    records = open_source(path).records(str)
    assert next(records) == RawCaption("1.jpg", "a cat")
    with pytest.raises(InputUnreadable, match=r"share.json:3 .*"):
        next(records)


DCI = {
    "image": "sa_1.jpg",
    "short_caption": "A harbor",
    "extra_caption": "Boats lie at the quay.",
    "mask_data": {
        "0": {"caption": "A red boat", "mask_quality": 0},
        "1": {"caption": "unclear", "mask_quality": 1},
        "2": {"caption": ""},
    },
}


def test_each_base_summary_of_dci_is_a_caption_of_its_own_and_its_words_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "complete").mkdir()
    (tmp_path / "photos").mkdir()
    summaries = {"base": ["A harbor. It is calm.", "Boats at a quay."], "0": ["A red boat."]}
    files = {"1": json.dumps(DCI | {"summaries": summaries}), "2": "{", "3": json.dumps(DCI), "4": json.dumps(DCI)}
    for name, text in files.items():
        (tmp_path / "complete" / f"{name}.json").write_text(text)
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["1.json", "2.json", "3.json"], "test": ["4.json"]}))
    source = open_source(tmp_path)
    assert source.image_root == tmp_path / "photos"
    assert source.shuffled == 0
    assert list(source.records(str)) == [
        RawCaption("sa_1.jpg", "A harbor. It is calm."),
        RawCaption("sa_1.jpg", "Boats at a quay."),
        Skipped("not valid JSON", "2.json"),
        RawCaption("sa_1.jpg", "A harbor. Boats lie at the quay. A red boat."),  # no summaries: the whole description
    ]
    (tmp_path / "splits.json").write_text("[]")
    with pytest.raises(InputUnreadable, match="names no training split"):
        list(open_source(tmp_path).records(str))


def write_shard(path: Path, texts: Sequence[str]) -> None:
    """A WebDataset shard of a picture per text, under names that would lead out of a folder."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for number, text in enumerate(texts):
            picture = io.BytesIO()
            Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(picture, "PNG")
            for ending, content in (("png", picture.getvalue()), ("txt", text.encode())):
                member = tarfile.TarInfo(f"../../{number}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("shards", [["shard-00.tar"], ["shard-00.tar", "shard-01.tar"], ["shard-00.tar.gz"]])
def test_pictures_of_tars_lie_beside_the_samples_wherever_these_are_moved(tmp_path: Path, shards: list[str]) -> None:
    for shard in shards:
        write_shard(tmp_path / shard, TEXTS)
    source = str(tmp_path / (shards[0] if len(shards) == 1 else "shard-{00..01}.tar"))
    found = prepare(open_source(source), tmp_path / "data", PrepareSettings(by="sentence"))
    assert found.samples == len(shards) * len(TEXTS)
    moved = (tmp_path / "data").rename(tmp_path / "moved")
    assert {path.name for path in tmp_path.iterdir()} == {*shards, "moved"}
    pictures = list(moved.rglob("pictures/*/*"))
    assert len(pictures) == len(TEXTS)  # one file of a picture that two shards hold
    data = open_data(str(moved), held_out=0)
    reds = {data.sample(number).caption: data.sample(number).open().getpixel((0, 0)) for number in range(len(data))}
    assert reds == {text: (number * 20, 0, 0) for number, text in enumerate(TEXTS)}


def test_a_picture_that_a_killed_run_left_torn_is_written_again(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard.tar", TEXTS)
    source = open_source(tmp_path / "shard.tar")
    prepare(source, tmp_path / "data", PrepareSettings(by="sentence"))
    torn = next((tmp_path / "data").rglob("pictures/*/*"))
    whole = torn.read_bytes()
    torn.write_bytes(whole[:10])
    (tmp_path / "data" / DATA_FILE).unlink()
    prepare(source, tmp_path / "data", PrepareSettings(by="sentence"))
    assert torn.read_bytes() == whole


def test_pictures_of_parquet_and_of_folders_are_read_as_detect_reads_them(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = importlib.import_module("pyarrow").Table
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(text)
    pictures = [{"bytes": (folder / f"{number}.png").read_bytes(), "path": "0.png"} for number in range(len(TEXTS))]
    parquet.write_table(table.from_pydict({"image": pictures, "text": TEXTS}), tmp_path / "rows.parquet")
    for source in (folder, tmp_path / "rows.parquet"):
        made = prepare(open_source(source), tmp_path / f"data-{source.name}", PrepareSettings(by="sentence"))
        data = open_data(str(made.folder), held_out=0)
        assert sorted(data.sample(number).open().tobytes()[0] for number in range(4)) == [0, 20, 40, 60]


@pytest.mark.parametrize("name", ["gone.jsonl", "empty.jsonl", "table.xlsx", "folder"])
def test_a_source_that_cannot_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "table.xlsx").write_text("image,text\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises((UsageError, InputUnreadable)):
        open_source(tmp_path / name)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_held_out_samples_are_never_trained_on(raw: Path, tmp_path: Path) -> None:
    prepared(raw, tmp_path / "data")
    data = open_data(str(tmp_path / "data"), held_out=5)
    out = {sample.name for sample in data.held_out()}
    trained = {data.sample(number).name for number in range(len(data))}
    assert len(out) == 1  # a tenth at most
    assert len(trained) == len(data) == 11
    assert not out & trained
    assert data.sample(0).open().size == (8, 8)


@pytest.mark.parametrize("name", ["gone", "empty", "pictogram:0", "pictogram:many"])
def test_data_that_is_not_there_is_a_usage_error_with_a_hint(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        open_data(name if ":" in name else str(tmp_path / name), held_out=5)
    assert caught.value.hint


def test_samples_that_changed_since_are_noticed(raw: Path, tmp_path: Path) -> None:
    prepared(raw, tmp_path / "data")
    with (tmp_path / "data" / SAMPLES_FILE).open("a") as file:
        file.write("{}\n")
    with pytest.raises(InputUnreadable, match="not the file that was prepared"):
        open_data(str(tmp_path / "data"), held_out=0)


def test_pictogram_scenes_for_training_and_validation_are_others() -> None:
    data = PictogramData(5, 5)
    assert {data.sample(number).caption for number in range(5)}.isdisjoint(one.caption for one in data.held_out())


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_an_epoch_reads_every_sample_and_the_next_in_another_order(processes: int) -> None:
    order = Order(samples=11, batch_size=2, accumulate=2, processes=processes, seed=3)
    epochs = [
        [
            row
            for step in range(epoch * order.steps_an_epoch, (epoch + 1) * order.steps_an_epoch)
            for rank in range(processes)
            for batch in order.batches(step, rank)
            for row in batch
        ]
        for epoch in range(2)
    ]
    assert set(epochs[0]) == set(epochs[1]) == set(range(11))
    assert len(epochs[0]) == {1: 11, 2: 12, 3: 12}[processes]  # as many for each process
    assert epochs[0] != epochs[1]
    last = order.steps_an_epoch - 1
    assert order.random(0, 4).random() == order.random(last, 4).random() != order.random(last + 1, 4).random()


def test_the_last_step_of_an_epoch_reads_what_is_left() -> None:
    order = Order(samples=11, batch_size=2, accumulate=2, processes=1, seed=3)
    assert [[len(batch) for batch in order.batches(step, 0)] for step in range(4)] == [[2, 2], [2, 2], [2, 1], [2, 2]]
    alone = Order(samples=1, batch_size=100, accumulate=4, processes=3, seed=0)
    assert [alone.batches(0, rank) for rank in range(3)] == [[[0]]] * 3


def test_a_sample_draws_a_beginning_its_next_and_its_wrong_one() -> None:
    sample = PictogramData(1, 0).sample(0)
    texts, triples = sample.draw(random.Random(0))
    ((base, detail, negative),) = triples
    assert texts[0] == sample.caption
    place = sample.captions.index(texts[base])
    assert (texts[detail], texts[negative]) == (sample.captions[place + 1], sample.negatives[place])
    everything = sample.draw(random.Random(0), 99)
    assert len(everything.triples) == len(sample.captions) - 1
    assert len(set(everything.texts)) == len(everything.texts)


@pytest.mark.parametrize(
    "change",
    [
        {"captions": "a string"},
        {"captions": []},
        {"neg_captions": ["one"]},
        {"caption": 5},
        {"captions": [1, 2, 3]},
        {"captions": ["alone"], "neg_captions": []},
    ],
)
def test_a_sample_of_other_types_is_named_by_its_line(raw: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = prepared(raw, tmp_path / "data").folder
    first, *others = (folder / SAMPLES_FILE).read_bytes().splitlines(keepends=True)
    line = json.dumps(json.loads(first) | change).encode()[: len(first) - 1].ljust(len(first) - 1) + b"\n"
    (folder / SAMPLES_FILE).write_bytes(line + b"".join(others))
    data = open_data(str(folder), held_out=0)
    with pytest.raises(InputUnreadable, match=rf"{SAMPLES_FILE}:1 cannot be read"):
        for number in range(len(data)):
            data.sample(number)


@pytest.mark.parametrize("change", [{"samples": "12"}, {"bytes": None}, {"image_root": 5}, {"fingerprint": []}])
def test_a_description_of_other_types_is_refused(raw: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    place = prepared(raw, tmp_path / "data").folder / DATA_FILE
    place.write_text(json.dumps(json.loads(place.read_text()) | change))
    with pytest.raises(UsageError, match="describes no training data"):
        open_data(str(place.parent), held_out=0)
    place.write_text("[" * 10_000)
    with pytest.raises(UsageError, match="describes no training data"):
        open_data(str(place.parent), held_out=0)


def test_a_damaged_plan_is_refused(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "data" / specs_prepare.PLAN_FILE
    place.parent.mkdir()
    place.write_text('{"seed": 0')
    with pytest.raises(UsageError, match=rf"{specs_prepare.PLAN_FILE} is damaged"):
        prepared(raw, tmp_path / "data")


def test_offsets_that_do_not_grow_are_refused_before_anything_is_read(raw: Path, tmp_path: Path) -> None:
    place = prepared(raw, tmp_path / "data").folder / "samples.offsets"
    content = bytearray(place.read_bytes())
    content[8:16] = (2**62).to_bytes(8, "little")
    place.write_bytes(content)
    with pytest.raises(InputUnreadable, match="is not the file that was prepared"):
        open_data(str(place.parent), held_out=0)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_tables_are_read_as_detect_reads_them(raw: Path, tmp_path: Path, ending: str) -> None:
    rows = [json.loads(line) for line in raw.read_text().splitlines()[:12]]
    table = tmp_path / f"table{ending}"
    if ending == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(
            arrow.table({"file": [row["image"] for row in rows], "caption": [row["text"] for row in rows]}), table
        )
    elif ending == ".jsonl":
        table.write_text("".join(f"{json.dumps({'file': row['image'], 'caption': row['text']})}\n" for row in rows))
    else:
        with table.open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter="," if ending == ".csv" else "\t")
            writer.writerows([("file", "caption"), *((row["image"], row["text"]) for row in rows)])
    source = open_source(table, {"image": "file", "text": "caption"})
    assert list(source.records(str)) == [RawCaption(row["image"], row["text"]) for row in rows]
    assert prepare(source, tmp_path / "data", PrepareSettings()).samples == 12
