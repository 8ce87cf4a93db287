"""The training run: steps, what is measured between them, and how a run is saved and resumed.

A step reads ``accumulate`` batches on each of the processes (at the end of an epoch what is left), averages their
gradients and moves the weights. It depends only on the weights, the optimizer's state, epsilon and the step's number,
so that a resumed run has the same loss curve as an uninterrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from clipalign.device import is_out_of_memory
from clipalign.errors import ClipalignError, UsageError
from clipalign.eval_results import Increments, SpecsResult
from clipalign.files import remove_leftovers, writing
from clipalign.runs.distributed import Processes
from clipalign.training.batches import Batch, make_batches, picture_vectors
from clipalign.training.checkpoints import (
    CHECKPOINTS_FOLDER,
    Checkpoint,
    MetricsLog,
    check_settings,
    keep_only,
    last_checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)
from clipalign.training.data import Order, SpecsData
from clipalign.training.loss import LONGCLIP_LOGIT_SCALE
from clipalign.training.model import TrainableModel, save_config
from clipalign.training.settings import Intervals, Listener, SpecsSettings, learning_rate
from clipalign.training.step import TrainStep
from clipalign.training.validation import Validation

CONFIG_FILE: Final = "config.json"
BEST_FILE: Final = "best.safetensors"
LAST_FILE: Final = "last.safetensors"
VECTORS_FILE: Final = "pictures.safetensors"
BAD_STEPS: Final = 10  # in a row with gradients that are not finite, after which a run gives up


@dataclass(slots=True)
class _Progress:
    step: int = 0
    epsilon: float = 0.0
    bad_steps: int = 0
    skipped_steps: int = 0
    before: Increments | None = None
    best: Increments | None = None
    best_step: int = 0

    def state_dict(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in self.__slots__}
        return state | {name: list(state[name]) if state[name] else None for name in ("before", "best")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self.__slots__:
            value = state[name]
            setattr(self, name, Increments(*value) if name in ("before", "best") and value else value)


class SpecsRun:
    """A run in a folder, which is made if it is missing; the trainee's precision and device are the arithmetic's.

    Args:
        intervals: of saving and measuring.
        stop: called after every step; True saves and ends the run.
        resume: from the folder's last checkpoint, if any.

    Raises:
        UsageError: other settings than those of the run that is resumed, or a checkpoint of something else.
        ModelMismatch: a checkpoint of another shape, or a damaged one.
        OutputError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        trainee: TrainableModel,
        data: SpecsData,
        settings: SpecsSettings,
        intervals: Intervals,
        *,
        processes: Processes,
        listener: Listener,
        stop: Callable[[], bool] = lambda: False,
        resume: bool = False,
    ) -> None:
        self._folder, self._trainee, self._data = folder, trainee, data
        self._settings, self._intervals, self._processes = settings, intervals, processes
        self._listener, self._stop = listener, stop
        if settings.objective == "longclip":
            trainee.logit_scale.data.fill_(LONGCLIP_LOGIT_SCALE)
        self._order = Order(len(data), settings.batch_size, settings.accumulate, processes.size, settings.seed)
        self.steps = settings.epochs * self._order.steps_an_epoch
        self._train_step = TrainStep(trainee, settings, processes)
        self._start = (
            {name: parameter.detach().clone() for name, parameter in trainee.parameters.items()}
            if settings.blend < 1
            else {}
        )
        self._last_step_at = 0.0
        self.progress = _Progress()
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            found = last_checkpoint(folder) if resume else None
        if found is not None:
            self._load(load_checkpoint(found), str(found))
        if processes.is_first:
            with self._writing():  # what a run that was killed left goes
                for one in (folder, folder / CHECKPOINTS_FOLDER):
                    remove_leftovers(one)
                if found is not None:
                    keep_only(folder, found)

    # --- saving and resuming ---

    def _identity(self) -> dict[str, Any]:
        start = {"start": self._trainee.loaded.weights_sha256, "data": self._data.fingerprint}
        return self._settings.identity() | start | {"processes": self._processes.size}

    def _load(self, checkpoint: Checkpoint, where: str) -> None:
        state = checkpoint.state
        try:
            check_settings(state["settings"], self._identity(), self._folder)
            self._trainee.load_weights(checkpoint.weights, where)
            self._train_step.load_state_dict(state)
            torch.set_rng_state(state["random"])
            self.progress.load_state_dict(state["progress"])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            raise UsageError(
                f"{where} is no checkpoint of this program: {error}", hint="--overwrite begins again", input="--resume"
            ) from error

    def _save(self) -> None:
        if self._processes.is_first:
            state = {
                "settings": self._identity(),
                **self._train_step.state_dict(),
                "random": torch.get_rng_state(),
                "progress": self.progress.state_dict(),
            }
            with self._writing():
                save_checkpoint(self._folder, self.progress.step, Checkpoint(self._trainee.weights(), state))
        self._processes.wait()

    def _save_weights(self, name: str) -> None:
        with self._writing():
            metadata = {"format": "pt", "step": str(self.progress.step)}
            save_weights(self._folder / name, self._trainee.weights(), metadata)

    def _kept(self) -> str:
        """What is saved, for messages; empty where nothing is."""
        with suppress(OSError):  # the folder itself may be what cannot be read
            if found := last_checkpoint(self._folder):
                return f"{found.name} is safe; --resume goes on from there"
        return ""

    def _writing(self) -> AbstractContextManager[None]:
        """Guard access to the run's own files and no others: errors there name them."""
        return writing(self._folder, inside=True, kept=self._kept)

    # --- the run ---

    def train(self) -> SpecsResult:
        """Train to the end, or until ``stop`` returns True; the last step is saved in either case.

        Raises:
            KeyboardInterrupt: ``stop`` ended the run.
            OutputError: the disk is full, or the folder cannot be written; the last checkpoint is whole.
            ClipalignError: gradients stay infinite, or a whole batch of pictures cannot be read.
        """
        progress, settings = self.progress, self._settings
        vectors = self._vectors()
        validation = Validation(self._data.held_out(), self._trainee, self._processes)
        with self._writing():
            is_first = self._processes.is_first
            metrics = MetricsLog(self._folder, last_step=progress.step, kept=self._kept()) if is_first else None
        with metrics or nullcontext():
            self._listener.begins(progress.step, self.steps)
            self._last_step_at = time.monotonic()
            if progress.step == 0:
                if is_first:
                    with self._writing():
                        save_config(self._folder / CONFIG_FILE, self._trainee)
                self._validate(validation, metrics)
                progress.before = progress.best
            batches = make_batches(
                self._data,
                self._order,
                self._trainee,
                self._processes,
                settings,
                steps=range(progress.step, self.steps),
                vectors=vectors,
                workers=self._intervals.workers,
            )
            with closing(batches):
                for ready in batches:
                    record = self._step(ready) | {"samples_per_second": self._rate(ready)}
                    if metrics is not None:
                        metrics.write(record)
                    self._listener.step(record)
                    if self._is_due(self._intervals.validate_every or self._order.steps_an_epoch):
                        self._validate(validation, metrics)
                    stopping = self._processes.any(self._stop())
                    if stopping or self._is_due(self._intervals.save_every):
                        self._save()
                    if stopping and progress.step < self.steps:
                        raise KeyboardInterrupt
        if is_first:
            self._save_weights(LAST_FILE)
            if progress.best is None:  # nothing was held out to choose by
                with self._trainee.blended(self._start, settings.blend):
                    self._save_weights(BEST_FILE)
        return SpecsResult(
            self._folder, progress.step, progress.before, progress.best, progress.best_step, progress.skipped_steps
        )

    def _rate(self, batches: list[Batch]) -> float:
        now = time.monotonic()
        seconds, self._last_step_at = now - self._last_step_at, now
        samples = sum(len(batch.texts) for batch in batches) * self._processes.size
        return round(samples / max(seconds, 1e-9), 2)

    def _is_due(self, every: int) -> bool:
        return self.progress.step % every == 0 or self.progress.step == self.steps

    def _vectors(self) -> Tensor | None:
        if self._trainee.image_learns:
            return None
        done = 0

        def on_progress(pictures: int) -> None:
            nonlocal done
            done += pictures * self._processes.size
            self._listener.pictures(min(done, len(self._data)), len(self._data))

        on_progress(0)
        return picture_vectors(
            self._data,
            self._trainee,
            self._processes,
            path=self._folder / VECTORS_FILE,
            workers=self._intervals.workers,
            on_progress=on_progress,
        )

    def _validate(self, validation: Validation, metrics: MetricsLog | None) -> None:
        progress = self.progress
        with self._trainee.blended(self._start, self._settings.blend):
            found = validation.measure()
            if found is None:
                return
            best = progress.best is None or found.average > progress.best.average
            if best:
                progress.best, progress.best_step = found, progress.step
                if self._processes.is_first:
                    self._save_weights(BEST_FILE)
        if metrics is not None:
            metrics.write({"step": progress.step, "validation": {**found._asdict(), "average": found.average}})
        self._listener.validated(progress.step, found, best=best)

    def _step(self, batches: list[Batch]) -> dict[str, Any]:
        """Move the weights once; return what is logged."""
        progress = self.progress
        rate = learning_rate(progress.step, self.steps, self._settings)
        result = self._train_step.step(batches, learning_rate=rate, epsilon=progress.epsilon)
        progress.step += 1
        if result.moved:
            progress.epsilon, progress.bad_steps = result.epsilon, 0
        else:
            self._skipped()
        return {
            "step": progress.step,
            "epoch": (progress.step - 1) // self._order.steps_an_epoch + 1,
            **result.means,
            "epsilon": progress.epsilon,
            "learning_rate": rate,
            "moved": result.moved,
        }

    def _skipped(self) -> None:
        """Count a step that moved nothing; too many in a row end the run."""
        progress = self.progress
        progress.bad_steps += 1
        progress.skipped_steps += 1
        if not self._train_step.scales:
            self._listener.warn(f"step {progress.step}: the gradients are not finite; the weights stay as they were")
        if progress.bad_steps >= BAD_STEPS:
            kept = last_checkpoint(self._folder)
            raise ClipalignError(
                f"the gradients of {BAD_STEPS} steps in a row were not finite",
                hint=f"a lower --learning-rate or --precision fp32; {kept.name if kept else 'no checkpoint'} is safe",
                input="--learning-rate",
            )
