"""The runner on a toy benchmark: records, interruptions, resumption, samples that cannot be read, partial data."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipalign.benchmarks import runner, statistics
from clipalign.benchmarks.data import find_in
from clipalign.benchmarks.detect_route import DetectRoute
from clipalign.benchmarks.pictogram_foil import PictogramFoil
from clipalign.benchmarks.ranks import Ranks, join_ranks
from clipalign.benchmarks.records import part_name
from clipalign.benchmarks.runner import run_benchmark
from clipalign.benchmarks.task import Benchmark, BrokenSample, Route, Sample
from clipalign.cache import data_folder
from clipalign.errors import Busy, ClipalignError, ImageUnreadable, InputUnreadable, MissingDataset, UsageError
from clipalign.locks import exclusive
from clipalign.results import EvalResult, Metric, Provenance
from clipalign.settings import Settings
from tests.tiny import load_tiny

PROVENANCE = Provenance("m", "a", "hash", False, "cpu", "fp32", 0, {"clipalign": "1"}, {"scale": 2.0})
NOBODY: Any = None


@dataclass(frozen=True, slots=True)
class Number:
    """A sample: a number, which the toy route halves."""

    id: str
    image_name: str
    value: int


@dataclass(frozen=True, slots=True)
class Half:
    """An outcome."""

    id: str
    half: float


class Halving(Route[Number, Half]):
    """Halves numbers, three at a time, and cannot read negative ones."""

    chunk_samples = 3

    def __init__(self, provenance: Provenance = PROVENANCE) -> None:
        self.provenance = provenance
        self.scored: list[str] = []
        self.fails_at = ""

    def score(self, samples: Sequence[Number]) -> list[Half | ClipalignError]:
        found: list[Half | ClipalignError] = []
        for sample in samples:
            if sample.id == self.fails_at:
                raise KeyboardInterrupt
            self.scored.append(sample.id)
            if sample.value < 0:
                found.append(ImageUnreadable(f"there is no file {sample.image_name}", hint="look again"))
            else:
                found.append(Half(sample.id, sample.value / 2 + 0.1))
        return found

    def record(self, outcome: Half) -> dict[str, Any]:
        return asdict(outcome)

    def outcome(self, record: dict[str, Any]) -> Half:
        return Half(record["id"], record["half"])


class Halves(Benchmark[Number, Half]):
    """Numbers from 0 on; the mean of their halves."""

    name = "halves"
    size = 10

    def __init__(self, *values: int, route: Halving | None = None, broken: int = -1) -> None:
        self.values = values or tuple(range(10))
        self.halving = route or Halving()
        self.broken = broken

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Number | BrokenSample]:
        for place, value in enumerate(self.values[:limit]):
            if place == self.broken:
                yield BrokenSample(f"n{value}", f"{value}.png", InputUnreadable("line 7 is no JSON"))
            else:
                yield Number(f"n{value}", f"{value}.png", value)

    def route(self, loaded: Any, settings: Settings) -> Halving:
        return self.halving

    def measure(self, outcomes: Sequence[Half], *, seed: int) -> list[Metric]:
        ids = [outcome.id for outcome in outcomes]
        return [statistics.mean("half", ids, [outcome.half for outcome in outcomes]).metric(seed=seed)]


def run(benchmark: Benchmark[Any, Any], **settings: Any) -> EvalResult:
    result = run_benchmark(benchmark, NOBODY, Settings(**settings))
    assert result is not None
    return result


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def interrupted(folder: Path, *, at: str) -> None:
    """A run that ends when it comes to sample ``at``."""
    route = Halving()
    route.fails_at = at
    with pytest.raises(KeyboardInterrupt):
        run(Halves(route=route), output=folder)


def test_a_run_leaves_a_line_a_sample_the_settings_and_the_result(tmp_path: Path) -> None:
    result = run(Halves(), output=tmp_path)
    assert [line["id"] for line in lines(tmp_path)] == [f"n{value}" for value in range(10)]
    assert result.counts == {"samples": 10, "unreadable": 0}
    assert result.notes == ()
    assert json.loads((tmp_path / "result.json").read_text())["metrics"] == {"half": result.metrics[0].value}
    header = json.loads((tmp_path / "run.json").read_text())
    assert header["settings"] == {"scale": 2.0, "limit": None, "seed": 0, "protocol": "paper"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "run.json", "samples.jsonl"]


def test_samples_that_cannot_be_read_are_counted_and_recorded_with_their_error(tmp_path: Path) -> None:
    result = run(Halves(4, -1, 6, 8, broken=3), output=tmp_path)
    assert result.counts == {"samples": 2, "unreadable": 2}
    assert result.metrics[0].value == pytest.approx(2.6)
    assert "2 of 4 samples could not be read and do not count; the first, n-1: there is no file -1.png" in result.notes
    error = {"type": "image_unreadable", "message": "there is no file -1.png", "hint": "look again"}
    assert lines(tmp_path)[1] == {"id": "n-1", "image": "-1.png", "error": error}
    assert lines(tmp_path)[3]["error"]["message"] == "line 7 is no JSON"


def test_on_error_fail_ends_the_run_at_the_first_of_them() -> None:
    with pytest.raises(ImageUnreadable, match=r"-1\.png"):
        run(Halves(4, -1, 6), on_error="fail")


def test_a_run_without_any_sample_that_can_be_read_says_why() -> None:
    with pytest.raises(InputUnreadable, match=r"none of the 2 samples of halves could be read; the first: there is"):
        run(Halves(-1, -2))


def test_a_run_without_samples_is_refused() -> None:
    with pytest.raises(InputUnreadable, match="halves has no samples"):
        run(Halves(), limit=0)


def test_partial_data_is_named_and_so_is_a_limit() -> None:
    assert run(Halves(1, 2, 3)).notes == ("a part of the data set: 3 of its 10 samples are here",)
    assert run(Halves(), limit=4).notes == ("the first 4 of 10 samples, because of --limit",)
    assert run(Halves(1, 2, 3), limit=4).notes == ("a part of the data set: 3 of its 10 samples are here",)


@pytest.mark.parametrize("at", ["n0", "n3", "n4", "n9"])
def test_an_interrupted_run_is_taken_up_at_the_last_whole_chunk_and_ends_the_same(tmp_path: Path, at: str) -> None:
    whole = run(Halves(), output=tmp_path / "whole")
    interrupted(tmp_path / "cut", at=at)
    route = Halving()
    result = run(Halves(route=route), output=tmp_path / "cut", resume=True)
    assert route.scored == [f"n{value}" for value in range(int(at[1:]) // 3 * 3, 10)]
    assert result == whole
    for name in ("samples.jsonl", "result.json", "run.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("left", [1, 20, 30, 75])
def test_a_torn_last_line_is_cut_off_and_scored_anew(tmp_path: Path, left: int) -> None:
    whole = run(Halves(), output=tmp_path)
    place = tmp_path / "samples.jsonl"
    content = place.read_bytes()
    place.write_bytes(content[:left])
    assert run(Halves(), output=tmp_path, resume=True) == whole
    assert place.read_bytes() == content


def test_a_finished_run_resumed_scores_the_last_chunk_alone(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    route = Halving()
    run(Halves(route=route), output=tmp_path, resume=True)
    assert route.scored == ["n9"]


def test_unreadable_samples_of_an_earlier_run_count_as_there(tmp_path: Path) -> None:
    benchmark = Halves(-1, 2, 4, -2, 6, 8)
    whole = run(benchmark, output=tmp_path)
    route = Halving()
    assert run(Halves(-1, 2, 4, -2, 6, 8, route=route), output=tmp_path, resume=True) == whole
    assert route.scored == []


def test_a_limit_may_be_raised_but_not_lowered_on_resumption(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path, limit=6)
    assert run(Halves(), output=tmp_path, resume=True).counts["samples"] == 10
    with pytest.raises(UsageError, match="holds 9 samples already, more than --limit 4"):
        run(Halves(), output=tmp_path, resume=True, limit=4)


def test_a_folder_with_a_run_is_refused_kept_or_replaced_as_asked(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    with pytest.raises(UsageError, match="already holds the records") as error:
        run(Halves(), output=tmp_path)
    assert error.value.hint == "--resume goes on with it, --overwrite starts anew"
    assert run(Halves(2, 4), output=tmp_path, overwrite=True).counts["samples"] == 2
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"settings": {"scale": 3.0}}, r"settings\.scale was 2\.0, now it is 3\.0"),
        ({"weights_sha256": "other"}, r"provenance\.weights_sha256 was hash, now it is other"),
        ({"precision": "bf16"}, r"provenance\.precision was fp32, now it is bf16"),
    ],
)
def test_another_model_or_setting_is_not_mixed_in(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    run(Halves(), output=tmp_path)
    with pytest.raises(UsageError, match=named):
        run(Halves(route=Halving(replace(PROVENANCE, **changed))), output=tmp_path, resume=True)


def test_another_seed_is_not_mixed_in_but_another_version_may_go_on(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    with pytest.raises(UsageError, match=r"settings\.seed was 0, now it is 1"):
        run(Halves(), output=tmp_path, resume=True, seed=1)
    newer = replace(PROVENANCE, versions={"clipalign": "2"})
    assert run(Halves(route=Halving(newer)), output=tmp_path, resume=True).counts["samples"] == 10


def test_other_data_is_not_mixed_in(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    with pytest.raises(UsageError, match="it has n1 where the data set has n5"):
        run(Halves(0, 5, 2, 3), output=tmp_path, resume=True)
    with pytest.raises(UsageError, match="it holds 9 samples, the data set 3"):
        run(Halves(0, 1, 2), output=tmp_path, resume=True)


def test_records_that_nobody_knows_the_settings_of_are_not_resumed(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        run(Halves(), output=tmp_path, resume=True)
    (tmp_path / "run.json").unlink()
    with pytest.raises(UsageError, match=r"without run\.json"):
        run(Halves(), output=tmp_path, resume=True)


def test_two_runs_into_one_folder_at_a_time_are_refused(tmp_path: Path) -> None:
    with exclusive(tmp_path / ".lock"), pytest.raises(Busy):
        run(Halves(), output=tmp_path)


def test_a_result_of_an_earlier_run_does_not_outlive_the_start_of_another(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    route = Halving()
    route.fails_at = "n9"
    with pytest.raises(KeyboardInterrupt):
        run(Halves(route=route), output=tmp_path, resume=True)
    assert not (tmp_path / "result.json").exists()


def test_detection_resumed_equals_detection_in_one_go_in_every_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DetectRoute, "chunk_samples", 4)

    def measured(**settings: Any) -> EvalResult | None:
        return run_benchmark(PictogramFoil(), load_tiny(), Settings(limit=10, **settings))

    whole = measured(output=tmp_path)
    content = (tmp_path / "samples.jsonl").read_bytes()
    (tmp_path / "samples.jsonl").write_bytes(content[: len(content) * 2 // 3])
    assert measured(output=tmp_path, resume=True) == whole == measured()
    assert (tmp_path / "samples.jsonl").read_bytes() == content


def test_detection_keeps_going_past_bad_pictures_and_texts_without_words(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    route = DetectRoute(load_tiny(), Settings())
    samples = [
        Sample("1", picture, "a.png", "a red square", True, ""),
        Sample("2", tmp_path / "b.png", "b.png", "a red square", True, ""),
        Sample("3", picture, "a.png", "...", True, "", truth={"human": 0.5}),
        Sample("4", picture, "a.png", "a blue square", False, "", (2, 6), truth={"human": 0.5}),
    ]
    first, missing, wordless, last = route.score(samples)
    assert isinstance(missing, ImageUnreadable)
    assert isinstance(wordless, InputUnreadable)
    assert not isinstance(first, ClipalignError)
    assert not isinstance(last, ClipalignError)
    assert last.truth == {"human": 0.5}
    assert route.outcome(json.loads(json.dumps(route.record(last)))) == last


def test_pictures_of_data_sets_are_turned_by_exif_only_where_asked(tmp_path: Path) -> None:
    picture = tmp_path / "turned.jpg"
    image = Image.new("RGB", (64, 64), "red")
    image.paste("blue", (0, 0, 64, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(picture, exif=exif)

    def cosine(protocol: str) -> float:
        route = DetectRoute(load_tiny(), Settings(protocol=protocol))
        (outcome,) = route.score([Sample("1", picture, "t", "a red square", True, "")])
        assert not isinstance(outcome, ClipalignError)
        return outcome.result.cosine

    assert cosine("paper") != pytest.approx(cosine("exif"), abs=1e-6)


def test_a_data_set_lies_in_the_cache_or_where_it_is_said_to(tmp_path: Path) -> None:
    assert data_folder("dtd", cache_dir=tmp_path) == tmp_path / "datasets" / "dtd"
    assert data_folder("dtd", data_root=tmp_path) == tmp_path
    (tmp_path / "dtd").mkdir()
    assert data_folder("dtd", data_root=tmp_path) == tmp_path / "dtd"


def test_a_data_set_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDataset) as error:
        find_in(tmp_path / "dtd", "dtd", "labels/test1.txt", "dtd/labels/test1.txt")
    assert error.value.exit_status == 4
    assert error.value.hint == "clipalign download dtd, or --data-root DIR"
    with pytest.raises(MissingDataset, match=r"there is no labels/test1\.txt and no dtd/labels/test1\.txt"):
        find_in(tmp_path, "dtd", "labels/test1.txt", "dtd/labels/test1.txt")
    (tmp_path / "dtd" / "labels").mkdir(parents=True)
    assert find_in(tmp_path, "dtd", "labels", "dtd/labels") == tmp_path / "dtd" / "labels"


# --- several processes -----------------------------------------------------------------------------------------------


class Together(threading.local):
    """Which process a thread of the test stands for."""

    ranks = Ranks()


def run_by(processes: int, **settings: Any) -> tuple[EvalResult, list[Halving]]:
    """The first's result and every one's route; threads stand for processes, a barrier for the network."""
    here, barrier = Together(), threading.Barrier(processes)
    exchanged: dict[int, Any] = {}

    class Dealt(Ranks):
        def wait(self) -> None:
            barrier.wait(timeout=60)

        def gather(self, mine: Any) -> list[Any]:
            exchanged[self.index] = mine
            barrier.wait(timeout=60)
            return [exchanged[index] for index in range(processes)] if self.first else []

        def close(self) -> None:
            """Nothing to leave."""

    routes = [Halving() for _ in range(processes)]
    results: dict[int, EvalResult | None] = {}

    def work(index: int) -> None:
        here.ranks = Dealt(index, processes)
        results[index] = run_benchmark(Halves(route=routes[index]), NOBODY, Settings(**settings))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "join_ranks", lambda: here.ranks)
        threads = [threading.Thread(target=work, args=(index,)) for index in range(processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [index for index, result in results.items() if result is not None] == [0]
    assert results[0] is not None
    return results[0], routes


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_several_processes_share_the_chunks_and_end_as_one(tmp_path: Path, processes: int) -> None:
    whole = run(Halves(), output=tmp_path / "one")
    result, routes = run_by(processes, output=tmp_path / "many")
    assert result == whole == run_by(processes)[0]
    assert routes[1].scored[:3] == ["n3", "n4", "n5"]
    assert sorted(one for route in routes for one in route.scored) == [f"n{value}" for value in range(10)]
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "many" / path.name).read_bytes() == path.read_bytes()
    assert len([*(tmp_path / "many").iterdir()]) == 3


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3), (3, 3)])
def test_a_run_is_resumed_by_any_number_of_processes(tmp_path: Path, before: int, after: int) -> None:
    """What two processes had left when they were stopped: chunks 0 and 2 of one, chunk 1 and a torn line of another."""
    whole = run(Halves(), output=tmp_path)
    content = (tmp_path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    chunks = [b"".join(content[begin : begin + 3]) for begin in range(0, 9, 3)]
    (tmp_path / "samples.jsonl").unlink()
    for index in range(before):
        torn = content[9][:7] if index == before - 1 else b""
        (tmp_path / part_name(index, before)).write_bytes(b"".join(chunks[index::before]) + torn)
    if after == 1:
        route = Halving()
        assert run(Halves(route=route), output=tmp_path, resume=True) == whole
        scored = route.scored
    else:
        result, routes = run_by(after, output=tmp_path, resume=True)
        assert result == whole
        scored = [one for route in routes for one in route.scored]
    assert scored == ["n9"]
    assert (tmp_path / "samples.jsonl").read_bytes() == b"".join(content)
    assert len([*tmp_path.iterdir()]) == 3


def test_a_gap_between_processes_is_scored_anew(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    content = (tmp_path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "samples.jsonl").unlink()
    (tmp_path / part_name(0, 2)).write_bytes(b"".join(content[:3] + content[6:9]))  # the second had nothing yet
    route = Halving()
    run(Halves(route=route), output=tmp_path, resume=True)
    assert route.scored == [f"n{value}" for value in range(3, 10)]


def test_parts_of_an_earlier_run_are_a_run_too(tmp_path: Path) -> None:
    (tmp_path / part_name(1, 2)).write_bytes(b'{"id": "n3", "half": 1.0}\n')
    with pytest.raises(UsageError, match="already holds the records"):
        run(Halves(), output=tmp_path)
    run(Halves(), output=tmp_path, overwrite=True)
    assert not (tmp_path / part_name(1, 2)).exists()


def test_nobody_waits_for_processes_that_were_not_launched() -> None:
    assert join_ranks({}) == join_ranks({"RANK": "0", "WORLD_SIZE": "1"}) == Ranks()
    assert Ranks().gather("mine") == ["mine"]
