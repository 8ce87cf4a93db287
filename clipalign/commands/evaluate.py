"""``clipalign eval``: one model, one benchmark; its metrics to stdout, progress to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from clipalign.batch.shares import with_own_device
from clipalign.benchmarks.table import benchmark_names, find_benchmark
from clipalign.commands import evaluate_more as more
from clipalign.commands.model import choose_model
from clipalign.commands.settled import settle
from clipalign.errors import DISK_FULL, EXIT_DONE, EXIT_INPUTS, UsageError, unwritable
from clipalign.options.evaluate import EvalOptions
from clipalign.options.option import one_by_one
from clipalign.registry import find_model
from clipalign.report import chosen_format, render
from clipalign.report.console import notices, progress_console
from clipalign.settings import Settings


@one_by_one
def evaluate(
    **typed: Unpack[EvalOptions],
) -> int:
    """Measure a model on a benchmark, with 95% bootstrap intervals and what a guess would reach.

    Shares run from 0 to 1, higher is better. LA: false captions whose false word was found; AP: average precision of
    a score at telling true captions from false ones; top1, top5: pictures whose class came first, or among five.
    Published numbers stand beside ours for reading.

    Examples:
      clipalign eval --dataset pictogram-foil --model pictogram
      clipalign eval --dataset pictogram-foil --model pictogram --limit 500
      clipalign eval --dataset hat --output runs/1 --resume
      clipalign eval --compare runs/1 runs/2
      clipalign eval --dataset hat --sweep layers=1,3 --sweep epsilon=-1e-5,-5e-5
      clipalign eval --dataset hat --calibrate --save clipalign.toml
      clipalign eval --dataset cifar10 --method clip-e --data-root cifar/
    """
    settings = settle("eval", typed)
    if settings.compare is not None:
        more.check_compared(typed)
        return more.compare(settings)
    with _writing(settings.output):
        return _run(settings, [name for name, value in typed.items() if value is not None])


def _run(settings: Settings, typed: Sequence[str]) -> int:
    if settings.dataset is None:
        raise UsageError("missing --dataset", hint=f"one of {', '.join(benchmark_names())}", input="--dataset")
    if settings.resume and settings.overwrite:
        raise UsageError("--resume and --overwrite exclude each other", hint="take one of them", input="--resume")
    more.check_together(settings)
    axes = more.check_axes(settings)
    from clipalign.benchmarks.records import check_free

    row = find_model(settings.model)  # before the benchmark, whose libraries a mistyped name need not wait for
    benchmark = find_benchmark(settings.dataset, data_root=settings.data_root, cache_dir=settings.cache_dir)
    more.check_options(benchmark, typed)
    more.check_swept(benchmark, axes)
    if settings.output is not None and not axes:  # a sweep has a folder a run in it
        check_free(settings.output, resume=settings.resume, overwrite=settings.overwrite)
    benchmark.check()
    settings = with_own_device(settings)
    total = settings.limit or benchmark.size
    if axes or settings.calibrate:
        with _progress(None, quiet=settings.quiet) as advance:
            if axes:
                return more.sweep(benchmark, settings, axes, advance)
            return more.calibrate(benchmark, settings, advance)
    loaded = choose_model(row, settings).load()

    from clipalign.benchmarks.runner import run_benchmark

    with _progress(total, quiet=settings.quiet) as advance:
        result = run_benchmark(benchmark, loaded, settings, progress=advance)
    if result is None:  # one of several processes; the first speaks for all
        return EXIT_DONE
    if settings.report is not None:
        more.report(benchmark, settings)
    render(result, format=chosen_format(settings))
    lost = result.counts["unreadable"]
    if lost:
        notices.warn(f"{lost:,} of {lost + result.counts['samples']:,} samples could not be read; the result names one")
    return EXIT_INPUTS if lost else EXIT_DONE


@contextmanager
def _writing(folder: Path | None) -> Iterator[None]:
    """Failures to write to ``folder`` as a sentence; all others as they are."""
    try:
        yield
    except OSError as error:
        if folder is None or not _concerns(error, folder):
            raise
        room = "make room there and " if error.errno in DISK_FULL else ""
        raise unwritable(error)(
            f"results could not be written to {folder}: {error.strerror}",
            hint=f"{room}go on with --resume, or choose another --output",
            input=str(folder),
        ) from error


def _concerns(error: OSError, folder: Path) -> bool:
    """Whether it is about ``folder`` or a file in it; a full disk that names no file is."""
    if error.filename is None:
        return error.errno in DISK_FULL
    place = Path(str(error.filename))
    return place == folder or folder in place.parents


@contextmanager
def _progress(total: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr, nothing elsewhere."""
    console = progress_console()
    if quiet or console is None:
        yield lambda samples: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("samples"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("samples", total=total)
        yield lambda samples: bar.advance(task, samples)
