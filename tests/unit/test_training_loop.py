"""A training run: the same curve however often it is stopped, and sentences for everything that can go wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from clipalign.device import choose_device
from clipalign.errors import ClipalignError, ImageUnreadable, ModelMismatch, OutputError, UsageError
from clipalign.eval_results import Increments
from clipalign.files import part_beside, remove_leftovers
from clipalign.models.load import load_model
from clipalign.runs.distributed import Processes
from clipalign.training import batches as specs_batches
from clipalign.training import checkpoints
from clipalign.training import loop as specs_loop
from clipalign.training.checkpoints import (
    METRICS_FILE,
    STATE_FILE,
    WEIGHTS_FILE,
    MetricsLog,
    as_os_error,
    last_checkpoint,
    load_checkpoint,
    save_weights,
)
from clipalign.training.data import PictogramData, SpecsSample
from clipalign.training.loop import BEST_FILE, CONFIG_FILE, LAST_FILE, SpecsRun
from clipalign.training.model import TrainableModel, make_trainable
from clipalign.training.settings import Intervals, SpecsSettings, learning_rate
from clipalign.training.validation import Validation, increments_of
from tests.tiny import GOLDEN

SETTINGS = SpecsSettings(
    epochs=2, batch_size=2, accumulate=2, learning_rate=1e-3, warmup_steps=2, lambda_short=0.5, draws=2
)
DATA = PictogramData(12, 4)
STEPS = 6


class Silent:
    """A listener that remembers warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def begins(self, step: int, steps: int) -> None: ...

    def pictures(self, done: int, total: int) -> None: ...

    def step(self, record: Mapping[str, Any]) -> None: ...

    def validated(self, step: int, increments: Increments, *, best: bool) -> None: ...

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def trainee(settings: SpecsSettings = SETTINGS, name: str = "tiny-longclip.safetensors") -> TrainableModel:
    loaded = load_model(str(GOLDEN / name), choice=choose_device("cpu"))
    return make_trainable(loaded, frozen=settings.freeze, recompute=settings.recompute)


def make_run(folder: Path, settings: SpecsSettings = SETTINGS, **others: Any) -> SpecsRun:
    intervals = Intervals(validate_every=2, save_every=2, workers=2)
    data = others.pop("data", DATA)
    learner = others.pop("trainee", None) or trainee(settings)
    defaults: dict[str, Any] = {"processes": Processes(), "listener": Silent()}
    return SpecsRun(folder, learner, data, settings, intervals, **defaults | others)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def curve(folder: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name != "samples_per_second"}
        for record in read_metrics(folder)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    make_run(folder).train()
    return folder


@pytest.fixture(scope="module")
def whole_of_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the image tower frozen."""
    folder = tmp_path_factory.mktemp("whole of text")
    make_run(folder, replace(SETTINGS, freeze=("image",))).train()
    return folder


def test_a_run_leaves_weights_that_the_product_loads(whole: Path) -> None:
    assert [record["step"] for record in curve(whole) if "loss" in record] == list(range(1, STEPS + 1))
    loaded = load_model(f"{whole / CONFIG_FILE}@{whole / LAST_FILE}", choice=choose_device("cpu"))
    start = load_model(str(GOLDEN / "tiny-longclip.safetensors"), choice=choose_device("cpu"))
    assert (loaded.context_tokens, loaded.quick_gelu, loaded.mean) == (248, start.quick_gelu, start.mean)
    moved = [
        name
        for name, value in start.network.state_dict().items()
        if not torch.equal(value, loaded.network.state_dict()[name])
    ]
    assert "visual.proj" in moved
    assert "transformer.resblocks.0.mlp.c_fc.weight" in moved
    assert (whole / BEST_FILE).exists()


@pytest.mark.parametrize("after", [1, 2, 5])
@pytest.mark.parametrize("frozen", [(), ("image",)])
def test_a_run_that_is_stopped_and_goes_on_draws_the_same_curve(
    tmp_path: Path, whole: Path, whole_of_text: Path, after: int, frozen: tuple[str, ...]
) -> None:
    settings = replace(SETTINGS, freeze=frozen)
    whole = whole_of_text if frozen else whole
    steps = iter(range(1, 100))
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path / "run", settings, stop=lambda: next(steps) == after).train()
    result = make_run(tmp_path / "run", settings, resume=True).train()
    assert curve(tmp_path / "run") == curve(whole)
    assert result.steps == STEPS
    ours, theirs = (load_checkpoint(last_checkpoint(folder) or folder) for folder in (tmp_path / "run", whole))
    assert all(torch.equal(value, theirs.weights[name]) for name, value in ours.weights.items())
    assert ours.state["progress"] == theirs.state["progress"]


def test_a_run_that_is_killed_between_checkpoints_goes_on_from_the_last_one(tmp_path: Path, whole: Path) -> None:
    class KilledError(Exception):
        pass

    class Killer(Silent):
        def step(self, record: Mapping[str, Any]) -> None:
            if record["step"] == 5:
                raise KilledError

    with pytest.raises(KilledError):
        make_run(tmp_path, listener=Killer()).train()
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 6, "lo')  # torn
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step-00000004"
    make_run(tmp_path, resume=True).train()
    assert curve(tmp_path) == curve(whole)


def test_only_the_last_checkpoint_stays_and_its_state_holds_nothing_that_runs(whole: Path) -> None:
    folders = list((whole / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["step-00000006"]
    assert torch.load(folders[0] / STATE_FILE, weights_only=True)["progress"]["step"] == STEPS


def test_two_small_batches_are_one_large_one(tmp_path: Path) -> None:
    """The hinges are means over samples, so that accumulating them changes nothing; each batch tells its own apart.

    The learning rate is low, since each step multiplies what rounding differs by, on some versions of torch too far.
    """
    settings = replace(
        SETTINGS, draws=1, learning_rate=1e-5, lambda_contrastive=0.0, lambda_short=0.0, hinge_margin=0.2
    )
    make_run(tmp_path / "two", settings).train()
    make_run(tmp_path / "one", replace(settings, batch_size=4, accumulate=1)).train()
    for ours, theirs in zip(curve(tmp_path / "two"), curve(tmp_path / "one"), strict=True):
        if "loss" in ours:
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=3e-5)
            assert ours["norm"] == pytest.approx(theirs["norm"], rel=1e-4)  # gradients are averaged, not summed


def test_the_norm_is_logged_as_it_was_and_cut_to_what_was_asked_for(tmp_path: Path, whole: Path) -> None:
    """Cut to almost nothing, AdamW moves almost nothing: its own epsilon outweighs such gradients."""
    learner = trainee()
    before = {name: value.detach().clone() for name, value in learner.parameters.items()}
    make_run(tmp_path, replace(SETTINGS, clip_norm=1e-12, weight_decay=0.0), trainee=learner).train()
    moved = max(float((value.detach() - before[name]).abs().max()) for name, value in learner.parameters.items())
    assert moved < 0.01 * SETTINGS.learning_rate
    first, as_ever = (next(one for one in curve(run) if "loss" in one) for run in (tmp_path, whole))
    assert first["norm"] == pytest.approx(as_ever["norm"], rel=1e-6)
    assert first["norm"] > 1e-6


def test_nothing_holds_the_temperature_down(tmp_path: Path) -> None:
    learner = trainee()
    with torch.no_grad():
        learner.logit_scale.fill_(5.0)  # CLIP itself stops at the logarithm of 100
    make_run(tmp_path, replace(SETTINGS, epochs=1), trainee=learner, data=PictogramData(4, 0)).train()
    assert float(learner.logit_scale.detach()) == pytest.approx(5.0, abs=0.01)


def test_gradients_are_not_clipped_by_default(tmp_path: Path) -> None:
    """A limit far above every norm changes nothing."""
    for name, limit in (("off", 0.0), ("far", 1e9)):
        make_run(tmp_path / name, replace(SETTINGS, clip_norm=limit)).train()
    assert SpecsSettings().clip_norm == 0
    assert curve(tmp_path / "off") == curve(tmp_path / "far")


def test_precision_and_recomputation_change_rounding_only(tmp_path: Path, whole: Path) -> None:
    make_run(tmp_path / "recompute", replace(SETTINGS, recompute=True)).train()
    make_run(tmp_path / "bf16", replace(SETTINGS, precision="bf16")).train()
    first = next(record for record in curve(whole) if "loss" in record)["loss"]
    for name, tolerance in (("recompute", 1e-5), ("bf16", 0.15)):
        found = next(record for record in curve(tmp_path / name) if "loss" in record)["loss"]
        assert found == pytest.approx(first, rel=tolerance)


def test_a_frozen_tower_stays_as_it_was(tmp_path: Path) -> None:
    settings = replace(SETTINGS, freeze=("text",), epochs=1)
    learner = trainee(settings)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    make_run(tmp_path, settings, trainee=learner).train()
    after = learner.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith(("visual.", "logit")))
    assert not torch.equal(before["visual.proj"], after["visual.proj"])


def test_blended_weights_lie_between_start_and_end_and_training_goes_on_unblended(tmp_path: Path, whole: Path) -> None:
    learner = trainee()
    start = {name: value.detach().clone() for name, value in learner.parameters.items()}
    make_run(tmp_path, replace(SETTINGS, blend=0.25), trainee=learner, data=PictogramData(12, 0)).train()
    last, best = load_file(tmp_path / LAST_FILE), load_file(tmp_path / BEST_FILE)
    for name, value in start.items():
        torch.testing.assert_close(best[name], 0.75 * value + 0.25 * last[name], atol=1e-6, rtol=1e-5)
    assert all(torch.equal(value, last[name]) for name, value in load_file(whole / LAST_FILE).items())


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_going_on_with_other_settings_names_the_first_difference(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(UsageError, match=r"begun with learning_rate=0\.001, now it is learning_rate=0\.002"):
        make_run(whole, replace(SETTINGS, learning_rate=2e-3), resume=True)
    with pytest.raises(UsageError, match=r"begun with lambda_detail=8\.0, now it is lambda_detail=2\.0"):
        make_run(whole, replace(SETTINGS, lambda_detail=2.0), resume=True)
    with pytest.raises(UsageError, match="begun with data with the fingerprint pictogram:12, now it is"):
        make_run(whole, data=PictogramData(13, 4), resume=True)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path, whole: Path) -> None:
    weights = load_checkpoint(last_checkpoint(whole) or whole).weights
    learner = trainee()
    with pytest.raises(ModelMismatch, match="another shape: text_projection"):
        learner.load_weights(weights | {"text_projection": torch.zeros(3, 3)}, "here")


def test_a_damaged_checkpoint_says_so(tmp_path: Path) -> None:
    make_run(tmp_path).train()
    (tmp_path / "checkpoints" / "step-00000006" / STATE_FILE).write_bytes(b"\x80\x02no")
    with pytest.raises(ModelMismatch, match="cannot be read"):
        make_run(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (torch.zeros(3), "holds something else than a run's state"),
        ({"settings": torch.zeros(3)}, "is no checkpoint of this program"),
        ({"random": torch.zeros(3, dtype=torch.uint8)}, "is no checkpoint of this program"),
        ({"progress": [1]}, "is no checkpoint of this program"),
        ({"progress": None}, "is no checkpoint of this program"),
    ],
)
def test_a_checkpoint_of_something_else_says_so(tmp_path: Path, whole: Path, state: Any, said: str) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    file = (last_checkpoint(run) or run) / STATE_FILE
    if isinstance(state, dict):
        state = torch.load(file, weights_only=True) | state
    torch.save(state, file)
    with pytest.raises((ModelMismatch, UsageError), match=said):
        make_run(run, resume=True)


def test_weights_with_a_flipped_bit_are_refused(tmp_path: Path, whole: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    file = (last_checkpoint(run) or run) / WEIGHTS_FILE
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelMismatch, match=r"is damaged: weights\.safetensors is not what was written"):
        make_run(run, resume=True)


def test_gradients_that_are_not_finite_move_nothing_and_end_the_run_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(specs_loop, "BAD_STEPS", 3)
    learner, listener = trainee(), Silent()
    with torch.no_grad():
        learner.network.text_projection[0, 0] = torch.nan
    before = learner.network.visual.proj.detach().clone()
    with pytest.raises(ClipalignError, match="3 steps in a row were not finite"):
        make_run(tmp_path, trainee=learner, listener=listener).train()
    assert torch.equal(before, learner.network.visual.proj)
    assert len(listener.warnings) == 3
    assert [record["loss"] for record in curve(tmp_path) if "loss" in record] == [None, None]  # JSON has no NaN


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = torch.save, []

    def full(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*arguments)

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="the disk is full") as caught:
        patch.setattr(torch, "save", full)
        make_run(tmp_path).train()
    assert caught.value.exit_status == 70
    assert "step-00000002" in caught.value.hint
    assert not list((tmp_path / "checkpoints").glob(".*"))
    make_run(tmp_path, resume=True).train()
    assert curve(tmp_path) == curve(whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_metrics_that_find_no_room_are_said_and_all_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Board:
        def close(self) -> None:
            closed.append(self)
            raise OSError(errno.ENOSPC, "No space left on device")

    class Full(MetricsLog):
        def __init__(self, run: Path, *, last_step: int, kept: str = "") -> None:
            super().__init__(run, last_step=last_step, kept=kept)
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, self._log._stream.fileno())
            os.close(full)
            self._board = Board()

    monkeypatch.setattr(specs_loop, "MetricsLog", Full)
    with pytest.raises(OutputError, match="cannot be written: the disk is full"):
        make_run(tmp_path).train()
    assert len(closed) == 1


def test_a_folder_that_cannot_be_written_is_said_and_not_called_full(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/run cannot be written: Not a directory") as caught:
        make_run(tmp_path / "file" / "run")
    assert caught.value.hint == "give another --output"
    (tmp_path / "run" / METRICS_FILE).mkdir(parents=True)
    with pytest.raises(OutputError, match=rf"{METRICS_FILE} cannot be written: Is a directory"):
        make_run(tmp_path / "run").train()
    (tmp_path / "run" / METRICS_FILE).rmdir()
    (tmp_path / "run" / "checkpoints" / "step-00000002").mkdir(parents=True)
    (tmp_path / "run" / CONFIG_FILE).mkdir()
    with pytest.raises(OutputError, match=rf"{CONFIG_FILE} cannot be written: Is a directory") as caught:
        make_run(tmp_path / "run").train()
    assert caught.value.hint == "make it writable; step-00000002 is safe; --resume goes on from there"


def test_the_folder_is_not_blamed_for_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(validation: Validation) -> None:
        raise OSError(errno.EIO, "Input/output error", "pictures/1.png")

    monkeypatch.setattr(Validation, "measure", breaks)
    with pytest.raises(OSError, match=r"pictures/1.png"):
        make_run(tmp_path).train()


TORN = "[enforce fail at inline_container.cc:672] . unexpected pos 15686720 vs 15686672"
SERIALIZED = 'Error while serializing: I/O error: Os { code: 28, kind: StorageFull, message: "No space left" }'


def test_what_the_libraries_say_of_a_full_disk_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_os_error(SafetensorError(SERIALIZED), tmp_path).errno == errno.ENOSPC
    assert as_os_error(SafetensorError("I/O error: File too large (os error 27)"), tmp_path).errno == errno.EFBIG
    assert as_os_error(RuntimeError(f"{TORN}\nframe #0"), tmp_path).args == (None, TORN)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=4096))
    assert as_os_error(RuntimeError(TORN), tmp_path).errno == errno.ENOSPC


def test_what_a_killed_run_left_beside_its_last_checkpoint_goes_with_the_next(tmp_path: Path) -> None:
    make_run(tmp_path).train()
    there = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "checkpoints" / "step-00000002").mkdir()
    part_beside(tmp_path / BEST_FILE).write_bytes(b"half")
    part_beside(tmp_path / "checkpoints" / "step-00000002").mkdir()
    make_run(tmp_path, resume=True).train()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [f"step-{STEPS:08}"]
    assert {path.name for path in tmp_path.iterdir()} == there


def test_vectors_of_pictures_that_find_no_room_are_no_reason_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = save_weights

    def full(path: Path, *given: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "save_file", _half)
            save(path, *given)

    monkeypatch.setattr(specs_batches, "save_weights", full)
    make_run(tmp_path, replace(SETTINGS, freeze=("image",))).train()
    assert not [*tmp_path.glob("*pictures*")] and (tmp_path / LAST_FILE).exists()


def test_a_kill_while_weights_are_written_leaves_nothing_that_is_not_removed(tmp_path: Path) -> None:
    started = []

    def killed(tensors: Any, path: Path, **given: Any) -> None:
        path.with_name(".tmpA1b2C3").write_bytes(b"half")  # of a random name, as safetensors 0.8 does
        started.append(path)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints, "save_file", killed)
        patch.setattr("shutil.rmtree", lambda *args, **more: None)
        save_weights(tmp_path / BEST_FILE, {"a": torch.zeros(1)}, {})
    assert started and [*tmp_path.iterdir()]
    remove_leftovers(tmp_path)
    assert not [*tmp_path.iterdir()]
    save_weights(tmp_path / BEST_FILE, {"a": torch.zeros(1)}, {})
    assert [one.name for one in tmp_path.iterdir()] == [BEST_FILE]


def _half(tensors: Any, path: Path, **given: Any) -> None:
    path.write_bytes(b"half")
    raise SafetensorError(SERIALIZED)


class Spoiled(PictogramData):
    """Some pictures cannot be read."""

    def __init__(self, bad: int) -> None:
        super().__init__(12, 0)
        self.bad = bad

    def sample(self, number: int) -> SpecsSample:
        sample = super().sample(number)
        return replace(sample, open=_broken) if number < self.bad else sample


def _broken() -> Image.Image:
    raise ImageUnreadable("broken.png is cut short")


@pytest.mark.parametrize("frozen", [(), ("image",)])
def test_a_picture_that_cannot_be_read_is_left_out(tmp_path: Path, frozen: tuple[str, ...]) -> None:
    result = make_run(tmp_path, replace(SETTINGS, freeze=frozen, batch_size=4, accumulate=1), data=Spoiled(1)).train()
    assert result.steps == STEPS
    assert all(record["moved"] for record in curve(tmp_path) if "loss" in record)


@pytest.mark.parametrize("frozen", [(), ("image",)])
def test_data_without_a_readable_picture_ends_the_run(tmp_path: Path, frozen: tuple[str, ...]) -> None:
    with pytest.raises(ClipalignError, match="not one picture"):
        make_run(tmp_path, replace(SETTINGS, freeze=frozen), data=Spoiled(12)).train()


def test_models_that_cannot_be_trained_are_said() -> None:
    loaded = load_model(str(GOLDEN / "tiny-longclip.safetensors"), choice=choose_device("cpu"))
    with pytest.raises(UsageError, match="both towers are frozen"):
        make_trainable(loaded, frozen=("text", "image"))


# --- small parts ------------------------------------------------------------------------------------------------------


def test_the_learning_rate_rises_and_falls_as_a_cosine() -> None:
    for objective, ahead in (("specs", 1), ("longclip", 0)):
        settings = SpecsSettings(objective=objective, learning_rate=1.0, warmup_steps=4)
        rates = [learning_rate(step - ahead, 104, settings) for step in range(ahead, 104 + ahead)]
        assert rates[: 4 - ahead] == [0.25, 0.5, 0.75, 1.0][ahead:]
        assert rates[4 - ahead] == 1.0
        assert rates[54 - ahead] == pytest.approx(0.5)
    assert SpecsSettings().learning_rate * 2 / 40 == learning_rate(0, 1000, SpecsSettings())
    assert learning_rate(103, 104, SpecsSettings()) == 0.0


def test_defaults_are_those_of_the_objective() -> None:
    names = ("batch_size", "accumulate", "learning_rate", "warmup_steps", "epochs", "weight_decay")
    specs, long = (SpecsSettings(objective=objective) for objective in ("specs", "longclip"))
    assert [getattr(specs, name) for name in names] == [100, 4, 1e-5, 40, 6, 1e-2]
    assert [getattr(long, name) for name in names] == [128, 1, 1e-6, 200, 6, 1e-2]
    assert SpecsSettings(objective="longclip", learning_rate=1e-5, warmup_steps=0).warmup_steps == 0


def test_increments_are_shares_of_beginnings() -> None:
    specs = json.loads((GOLDEN / "specs.json").read_text())
    sample = specs["samples"][0]
    found = increments_of(torch.tensor(sample["similarity"]), torch.tensor(sample["neg_similarity"]))
    pairs = list(zip(sample["similarity"], sample["similarity"][1:], strict=False))
    assert found.positive == pytest.approx(sum(b > a for a, b in pairs) / 5)
    wrong = list(zip(sample["similarity"], sample["neg_similarity"], strict=False))
    assert found.negative == pytest.approx(sum(a > b for a, b in wrong) / 5)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    with MetricsLog(tmp_path, last_step=0) as writer:
        for step in range(1, 5):
            writer.write({"step": step, "loss": 1.0 / step})
    yield tmp_path


def test_metrics_after_the_checkpoint_are_cut_off(log: Path) -> None:
    with MetricsLog(log, last_step=2) as writer:
        writer.write({"step": 3, "loss": 0.5})
    assert [record["step"] for record in read_metrics(log)] == [1, 2, 3]
    with MetricsLog(log, last_step=0):
        pass
    assert read_metrics(log) == []
