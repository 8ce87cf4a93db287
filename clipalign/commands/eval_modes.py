"""What ``clipalign eval`` does besides one run: compare, sweep, calibrate, report; and which options go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from clipalign.commands.common import choose_model
from clipalign.config.choices import SWEPT
from clipalign.config.readers import flag_name
from clipalign.config.values import Settings
from clipalign.errors import EXIT_DONE, EXIT_INPUTS, UsageError
from clipalign.models.registry import find_model
from clipalign.output import chosen_format
from clipalign.output.console import notices, stdout_is_terminal, write_output

if TYPE_CHECKING:
    from clipalign.evaluation.task import Benchmark
    from clipalign.models.model import LoadedModel

Progress = Callable[[int], None]


def compare(settings: Settings) -> int:
    """Two finished runs, beside each other; under ``torchrun`` by the first process alone."""
    from clipalign.runs.distributed import launched_processes

    if not launched_processes().is_first:
        return EXIT_DONE
    from clipalign.evaluation.compare import compare_runs
    from clipalign.output.eval import comparison_record, comparison_table

    assert settings.compare is not None
    comparison = compare_runs(*settings.compare, seed=settings.seed)
    if chosen_format(settings) == "json":
        return _json(comparison_record(comparison))
    write_output(comparison_table(comparison))
    return EXIT_DONE


def check_axes(settings: Settings) -> dict[str, list[object]]:
    """What ``--sweep`` goes through, every model known; before anything heavy is imported.

    Raises:
        UsageError: it cannot be swept.
        UnknownModel: there is no such model.
    """
    from clipalign.evaluation.sweep import read_axes

    axes = read_axes(settings.sweep)
    for model in axes.get("model", []):
        find_model(str(model))
    return axes


def sweep(benchmark: Benchmark[Any, Any], settings: Settings, axes: dict[str, list[object]], progress: Progress) -> int:
    """All combinations of ``axes``."""
    from clipalign.evaluation.sweep import run_sweep
    from clipalign.output.eval import sweep_record, sweep_table

    def load(model: str) -> LoadedModel:
        return choose_model(find_model(model), settings).load()

    found = run_sweep(benchmark, load, settings, axes, progress=progress)
    if not found:  # one of several processes; the first speaks for all
        return EXIT_DONE
    rows = [(one.values, one.result) for one in found]
    if chosen_format(settings) == "json":
        _json(sweep_record(rows))
    else:
        write_output(sweep_table(rows))
    return EXIT_INPUTS if any(one.result.counts["unreadable"] for one in found) else EXIT_DONE


def calibrate(benchmark: Benchmark[Any, Any], settings: Settings, progress: Progress) -> int:
    """The layers and the epsilon that suit the model; under ``torchrun`` by the first process alone."""
    from clipalign.runs.distributed import launched_processes

    if not launched_processes().is_first:
        return EXIT_DONE
    loaded = choose_model(find_model(settings.model), settings).load()

    from clipalign.evaluation.calibrate import calibrate as fitted
    from clipalign.output.eval import calibration_record, calibration_table, save_calibration

    calibration = fitted(benchmark, loaded, settings, progress=progress)
    if settings.save is not None:
        save_calibration(calibration, settings.save, model=settings.model)
        notices.inform(
            f"layers and epsilon stand in {settings.save}; detect reads a clipalign.toml, or a pyproject.toml, in its "
            "folder and below"
        )
    if chosen_format(settings) == "json":
        _json(calibration_record(calibration))
    else:
        write_output(calibration_table(calibration))
    return EXIT_INPUTS if calibration.counts["unreadable"] else EXIT_DONE


def report(benchmark: Benchmark[Any, Any], settings: Settings) -> None:
    """The page about the run in ``--output``."""
    from clipalign.evaluation.report_data import report_data
    from clipalign.files import write_whole
    from clipalign.output.eval import REPORT_FILE, eval_page

    assert settings.output is not None
    page = eval_page(report_data(benchmark, settings))
    write_whole(settings.output / REPORT_FILE, page.encode("utf-8", "backslashreplace"))
    notices.inform(f"the report is {settings.output / REPORT_FILE}")


def check_options(benchmark: Benchmark[Any, Any], typed: Sequence[str]) -> None:
    """Options that the benchmark has no use for; settings of files and variables are for whatever has.

    Raises:
        UsageError: one was typed.
    """
    from clipalign.evaluation.task import CLASS_FILES, CLASS_OPTIONS, LONG_OPTIONS, WORD_OPTIONS

    for name in (*WORD_OPTIONS, *CLASS_OPTIONS, *CLASS_FILES, *LONG_OPTIONS):
        if name in typed and name not in benchmark.options:
            flag = flag_name(name)
            has = ", ".join(flag_name(one) for one in benchmark.options)
            hint = f"it has {has}" if has else "leave it out"
            raise UsageError(f"{benchmark.name} makes no use of {flag}", hint=hint, input=flag)


def check_swept(benchmark: Benchmark[Any, Any], axes: Mapping[str, object]) -> None:
    """Settings swept that the benchmark has no use for; before a model is loaded.

    Raises:
        UsageError: there is one.
    """
    others = [name for name in axes if name != "model" and name not in benchmark.options]
    if others:
        can = ", ".join(name for name in SWEPT if name == "model" or name in benchmark.options)
        raise UsageError(
            f"{benchmark.name} makes no use of {', '.join(others)}",
            hint=f"--sweep can go through {can} there",
            input="--sweep",
        )


_WITH_COMPARE: Final = ("compare", "seed", "format", "quiet", "verbose", "debug")


def check_compared(typed: Mapping[str, object]) -> None:
    """Options typed beside ``--compare``, which reads two finished runs as they are.

    Raises:
        UsageError: one means nothing to it.
    """
    for name, value in typed.items():
        if name not in _WITH_COMPARE and value not in (None, [], ()):
            flag = flag_name(name)
            raise UsageError(
                f"--compare makes no use of {flag}", hint="leave it out, or run without --compare", input=flag
            )


def check_together(settings: Settings) -> None:
    """Options that exclude or need each other.

    Raises:
        UsageError: they are not given so.
    """
    if settings.save is not None and not settings.calibrate:
        raise UsageError("--save needs --calibrate", hint="it saves what is calibrated", input="--save")
    if settings.calibrate and settings.sweep:
        raise UsageError("--calibrate and --sweep exclude each other", hint="take one of them", input="--calibrate")
    if settings.calibrate and settings.output is not None:
        raise UsageError("--calibrate has no --output", hint="use --save, or --format json", input="--output")
    if settings.report is not None and (settings.calibrate or settings.sweep):
        raise UsageError("--report is about one run", hint="leave out --calibrate or --sweep", input="--report")
    if settings.report is not None and settings.output is None:
        raise UsageError("--report needs --output", hint="the report is written there", input="--report")


def _json(record: dict[str, object]) -> int:
    from clipalign.output.json import encode

    write_output(encode(record, indent=stdout_is_terminal()), is_data=True)
    return EXIT_DONE
