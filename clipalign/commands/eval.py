"""``clipalign eval``: models on benchmarks; their metrics to stdout, progress to stderr."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.calibration import read_calibration
from clipalign.commands.common import choose_model
from clipalign.commands.options import expand_options
from clipalign.config.groups import MachineSettings
from clipalign.config.settings import flag_name, refuse
from clipalign.data.words import Mode
from clipalign.errors import DISK_FULL, EXIT_DONE, EXIT_FOUND, EXIT_INPUTS, MissingDataset, UsageError
from clipalign.evaluation.registry import BENCHMARKS, benchmark_names, find_benchmark, named_benchmarks
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.sweep import check_used, combinations, read_axes, run_sweep
from clipalign.files import write_failed, write_whole
from clipalign.models.registry import find_model
from clipalign.output import chosen_format, write_record
from clipalign.output.console import notices
from clipalign.output.progress import Progress
from clipalign.plain import plain
from clipalign.runs.distributed import launched_processes

if TYPE_CHECKING:
    from clipalign.evaluation.benchmark import Benchmark
    from clipalign.evaluation.sweep import Swept
    from clipalign.models.model import LoadedModel
    from clipalign.output.leaderboard import Leaderboard

SAMPLES: Final = ("sample", "samples")

_WITH_COMPARE: Final = ("compare", "check", "margin", "seed", "format", "quiet", "verbose", "debug")
_WITH_VERIFY: Final = ("verify", "model", "data_root", "limit", *(field.name for field in fields(MachineSettings)))


@expand_options("eval")
def evaluate(*, settings: EvalSettings) -> int:
    """Measure a model on a benchmark, with 95% bootstrap intervals and what a guess would reach.

    Shares run from 0 to 1, higher is better. LA: false captions whose false word was found; AP: average precision of
    a score at telling true captions from false ones; top1, top5: images whose class came first, or among five.
    Published numbers stand beside ours for reading.

    Examples:
      clipalign eval --dataset pictogram-foil --model pictogram
      clipalign eval --dataset pictogram-foil --model pictogram --limit 500
      clipalign eval --dataset hat --output runs/1 --resume
      clipalign eval --compare runs/1 runs/2
      clipalign eval --compare old.jsonl new.jsonl --check --margin 0.01
      clipalign eval --verify found.jsonl --data-root photos
      clipalign eval --dataset atlas --output runs --report html
      clipalign eval --output runs --report html
      clipalign eval --dataset hat --sweep layers=1,3 --sweep epsilon=-1e-5,-5e-5
      clipalign eval --dataset hat --calibrate --save calibration.json
      clipalign eval --dataset ok.csv --calibrate --false-alarms 5% --save my.json
      clipalign eval --dataset foil --compare-precision bf16,int8
      clipalign eval --dataset cifar10 --method clip-e --data-root cifar/
      clipalign eval --dataset mine.csv --columns wrong_words=errors --dry-run
    """
    if settings.compare is not None:
        _refuse_others(settings, _WITH_COMPARE, "--compare makes no use of {}")
        return _compare(settings.compare, settings)
    if settings.verify is not None:
        _refuse_others(settings, _WITH_VERIFY, "--verify makes no use of {}")
        return _verify(settings.verify, settings)
    with _writing(settings.output):
        return _run(settings)


def _run(settings: EvalSettings) -> int:
    if settings.dataset is None:
        return _leaderboard_of(settings)
    _check_together(settings)
    axes = read_axes(settings.sweep)
    for model in axes.get("model", []):
        find_model(str(model))
    row = find_model(settings.model)  # before the benchmark, whose libraries a mistyped name need not wait for
    named = named_benchmarks(settings.dataset)
    if len(named) > 1:
        return _run_many(named, settings, axes)
    benchmark = find_benchmark(
        settings.dataset, data_root=settings.data_root, cache_dir=settings.cache_dir, columns=settings.columns
    )
    _check_options(benchmark, settings, benchmark.options)
    check_used(benchmark, axes)
    _check_epsilon(benchmark, settings, axes)
    from clipalign.evaluation.load_run import check_free

    if settings.output is not None and not axes:  # a sweep has a folder a run in it
        check_free(settings.output, resume=settings.resume, overwrite=settings.overwrite)
    benchmark.check()
    if settings.dry_run:
        return _explain([benchmark], {}, settings)
    if axes:
        return _sweep(benchmark, settings, axes)
    if settings.compare_precision:
        return _compare_precisions(benchmark, settings)
    if settings.calibrate:
        return _calibrate(benchmark, settings)
    loaded = choose_model(row, settings).load()

    from clipalign.evaluation.evaluate import run_benchmark
    from clipalign.output.eval import eval_table

    with _progress([benchmark], settings) as progress:
        result = run_benchmark(benchmark, loaded, settings, progress=progress.advance)
    if result is None:  # one of several processes; the first reports for all
        return EXIT_DONE
    if settings.report is not None:
        _report(benchmark, settings)
    write_record(result.to_dict(), eval_table(result), format=chosen_format(settings))
    lost = result.counts["unreadable"]
    if lost:
        notices.warn(f"{lost:,} of {lost + result.counts['samples']:,} samples could not be read; the result names one")
    return EXIT_INPUTS if lost else EXIT_DONE


def _progress(benchmarks: Sequence[Benchmark[Any, Any]], settings: EvalSettings, *, runs: int = 1) -> Progress:
    """Return the progress of ``runs`` over the samples of each benchmark."""
    sizes = [settings.limit if one.size is None else min(one.size, settings.limit or one.size) for one in benchmarks]
    total = None if None in sizes else runs * sum(filter(None, sizes))
    return Progress(SAMPLES, total=total, shown=launched_processes().is_first)


def _run_many(named: Mapping[str, bool], settings: EvalSettings, axes: dict[str, list[object]]) -> int:
    """Run several benchmarks; those that may be missing are left out with a note."""
    if settings.calibrate or settings.compare_precision:
        flag = "--calibrate" if settings.calibrate else "--compare-precision"
        raise UsageError(f"{flag} is about one data set", hint="name one", input=flag)
    from clipalign.output.leaderboard import Leaderboard

    benchmarks, missing = _here(named, settings)
    if settings.dry_run:
        return _explain(benchmarks, missing, settings)
    used = {option for benchmark in benchmarks for option in benchmark.options}
    for benchmark in benchmarks:
        _check_options(benchmark, settings, used)
    found = _swept(benchmarks, settings, axes)
    if not found:  # one of several processes; the first reports for all
        return EXIT_DONE
    board = Leaderboard(str(settings.dataset), [one.result.to_dict() for one in found], missing)
    _write_leaderboard(board, settings)
    return EXIT_INPUTS if any(one.result.counts["unreadable"] for one in found) else EXIT_DONE


def _here(named: Mapping[str, bool], settings: EvalSettings) -> tuple[list[Benchmark[Any, Any]], dict[str, str]]:
    """Benchmarks whose data is here, and why others are missing; MissingDataset if none is here."""
    found: list[Benchmark[Any, Any]] = []
    missing: dict[str, str] = {}
    own = [name for name in named if name not in BENCHMARKS]
    for name, optional in named.items():
        root = settings.data_root / name if settings.data_root and name in BENCHMARKS else settings.data_root
        columns = settings.columns if name in own or not own else None
        benchmark = find_benchmark(name, data_root=root, cache_dir=settings.cache_dir, columns=columns)
        try:
            benchmark.check()
        except MissingDataset as error:
            if not optional:
                raise
            reason = f"{error.message}; " if benchmark.folder.is_dir() else ""
            missing[name] = f"{reason}clipalign download {name}"
        else:
            found.append(benchmark)
    return found, missing


def _leaderboard_of(settings: EvalSettings) -> int:
    """One table of the finished runs in ``--output``."""
    if settings.output is None:
        raise UsageError("missing --dataset", hint=f"one of {', '.join(benchmark_names())}", input="--dataset")
    _refuse_others(settings, (*_WITH_COMPARE, "output", "report"), "without --dataset there is no use of {}")
    from clipalign.evaluation.load_run import finished_runs
    from clipalign.output.leaderboard import Leaderboard

    runs = finished_runs(settings.output)
    _write_leaderboard(
        Leaderboard(f"{len(runs)} run{'s' if len(runs) > 1 else ''} in {settings.output}", runs, {}), settings
    )
    return EXIT_DONE


def _write_leaderboard(board: Leaderboard, settings: EvalSettings) -> None:
    from clipalign.output.leaderboard import leaderboard_page, leaderboard_record, leaderboard_table

    if settings.report is not None:
        _write_report(leaderboard_page(board), settings)
    write_record(leaderboard_record(board), leaderboard_table(board), format=chosen_format(settings))


def _explain(benchmarks: Sequence[Benchmark[Any, Any]], missing: Mapping[str, str], settings: EvalSettings) -> int:
    """What the data is, without a model."""
    found = [{"name": one.name, "samples": one.size, "notes": list(one.notes)} for one in benchmarks]
    lines = []
    for one in benchmarks:
        lines += [f"{one.name}: {'' if one.size is None else f'{one.size:,} samples'}", *filter(None, one.notes)]
    lines += [f"missing: {name}: {why}" for name, why in missing.items()]
    record = {"datasets": found, "missing": dict(missing)}
    write_record(record, "".join(f"{line}\n" for line in lines), format=chosen_format(settings))
    return EXIT_DONE


@contextmanager
def _writing(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if folder is None or not _concerns(error, folder):
            raise
        raise write_failed(str(folder), error, kept="go on with --resume, or choose another --output") from error


def _concerns(error: OSError, folder: Path) -> bool:
    """Return whether ``error`` is about ``folder`` or a file in it, or a full disk without a file name."""
    if error.filename is None:
        return error.errno in DISK_FULL
    path = Path(str(error.filename))
    return path == folder or folder in path.parents


def _compare(runs: tuple[Path, Path], settings: EvalSettings) -> int:
    """Compare two finished runs or outputs; under ``torchrun`` in the first process only."""
    if not launched_processes().is_first:
        return EXIT_DONE
    from clipalign.evaluation.compare import compare
    from clipalign.output.eval import comparison_record, comparison_table

    comparison = compare(*runs, seed=settings.seed, margin=settings.margin)
    write_record(comparison_record(comparison), comparison_table(comparison), format=chosen_format(settings))
    return EXIT_FOUND if settings.check and comparison.worse else EXIT_DONE


def _verify(path: Path, settings: EvalSettings) -> int:
    from clipalign.evaluation.verify import SAMPLE, read_sample, verify
    from clipalign.output.eval import verification_table

    sample = read_sample(path, size=settings.limit or SAMPLE, seed=settings.seed, pictures=settings.data_root)
    named = str(sample[0].columns["provenance"].get("model"))
    if "model" not in settings.typed and named != settings.model:  # a file does not choose what is loaded
        notices.warn(f"the records are of another model than {settings.model}: give --model {shlex.quote(named)}")
    loaded = choose_model(find_model(settings.model), settings).load()
    with Progress(("record", "records"), total=len(sample)) as progress:
        found = verify(path, sample, loaded, progress=progress.advance)
    write_record(plain(found), verification_table(found), format=chosen_format(settings))
    return EXIT_INPUTS if found.unreadable else EXIT_FOUND if found.different else EXIT_DONE


def _sweep(benchmark: Benchmark[Any, Any], settings: EvalSettings, axes: dict[str, list[object]]) -> int:
    from clipalign.output.eval import sweep_record, sweep_table

    found = _swept([benchmark], settings, axes)
    if not found:  # one of several processes; the first reports for all
        return EXIT_DONE
    if settings.report is not None:
        from clipalign.output.leaderboard import Leaderboard, leaderboard_page

        _write_report(leaderboard_page(Leaderboard(benchmark.name, [o.result.to_dict() for o in found], {})), settings)
    rows = [(one.values, one.result) for one in found]
    write_record(sweep_record(rows), sweep_table(rows), format=chosen_format(settings))
    return EXIT_INPUTS if any(one.result.counts["unreadable"] for one in found) else EXIT_DONE


def _swept(
    benchmarks: Sequence[Benchmark[Any, Any]], settings: EvalSettings, axes: Mapping[str, Sequence[object]]
) -> list[Swept]:
    def load(model: str) -> LoadedModel:
        return choose_model(find_model(model), settings).load()

    with _progress(benchmarks, settings, runs=len(list(combinations(axes)))) as progress:
        return run_sweep(benchmarks, load, settings, axes, progress=progress.advance)


def _compare_precisions(benchmark: Benchmark[Any, Any], settings: EvalSettings) -> int:
    """Compare engines and precisions; under ``torchrun`` in the first process only."""
    if not launched_processes().is_first:
        return EXIT_DONE
    from clipalign.evaluation.precisions import compare_precisions
    from clipalign.output.eval import precision_table, sweep_record

    def load(engine: str, precision: str) -> LoadedModel:
        return choose_model(find_model(settings.model), replace(settings, engine=engine, precision=precision)).load()

    with _progress([benchmark], settings, runs=1 + len(settings.compare_precision)) as progress:
        found = compare_precisions(benchmark, load, settings, progress=progress.advance)
    rows = [(one.values, one.result) for one in found]
    write_record(sweep_record(rows), precision_table(rows), format=chosen_format(settings))
    return EXIT_INPUTS if any(result.counts["unreadable"] for _, result in rows) else EXIT_DONE


def _calibrate(benchmark: Benchmark[Any, Any], settings: EvalSettings) -> int:
    """Choose layers and epsilon for the model; under ``torchrun`` in the first process only."""
    if not launched_processes().is_first:
        return EXIT_DONE
    loaded = choose_model(find_model(settings.model), settings).load()

    from clipalign.evaluation.calibrate import calibrate as fitted
    from clipalign.evaluation.calibrate import layers_tried
    from clipalign.evaluation.self_labels import SelfLabeled
    from clipalign.evaluation.tasks.words import WordBenchmark
    from clipalign.output.eval import calibration_record, calibration_table, save_calibration

    if settings.self_labeled:
        if not isinstance(benchmark, WordBenchmark):
            raise UsageError(f"{benchmark.name} has no captions that are true", hint="leave out --self", input="--self")
        benchmark = SelfLabeled(benchmark)
    with _progress([benchmark], settings, runs=len(layers_tried(loaded, settings))) as progress:
        calibration = fitted(benchmark, loaded, settings, progress=progress.advance)
    if settings.save is not None:
        save_calibration(calibration, settings.save)
    write_record(calibration_record(calibration), calibration_table(calibration), format=chosen_format(settings))
    return EXIT_INPUTS if calibration.counts["unreadable"] else EXIT_DONE


def _report(benchmark: Benchmark[Any, Any], settings: EvalSettings) -> None:
    from clipalign.evaluation.report_data import report_data
    from clipalign.output.eval import eval_page

    _write_report(eval_page(report_data(benchmark, settings)), settings)


def _write_report(page: str, settings: EvalSettings) -> None:
    from clipalign.output.eval import REPORT_FILE

    assert settings.output is not None
    write_whole(settings.output / REPORT_FILE, page.encode("utf-8", "backslashreplace"))
    notices.inform(f"the report is {settings.output / REPORT_FILE}")


def _check_options(benchmark: Benchmark[Any, Any], settings: EvalSettings, used: Collection[str]) -> None:
    """Refuse typed options that are not ``used``; those of settings files and variables are ignored."""
    from clipalign.evaluation.benchmark import CLASS_FILES, CLASS_OPTIONS, LONG_OPTIONS, WORD_OPTIONS

    unused = [one for one in (*WORD_OPTIONS, *CLASS_OPTIONS, *CLASS_FILES, *LONG_OPTIONS) if one not in used]
    has = ", ".join(flag_name(one) for one in benchmark.options)
    refuse(settings, unused, f"{benchmark.name} makes no use of {{}}", hint=f"it has {has}" if has else "leave it out")


def _check_epsilon(
    benchmark: Benchmark[Any, Any], settings: EvalSettings, axes: Mapping[str, Sequence[object]]
) -> None:
    """Refuse a typed or swept epsilon if every run is in mode most-negative, which has none."""
    option = "--sweep" if "epsilon" in axes else "--epsilon" if "epsilon" in settings.typed else ""
    modes = axes.get("mode") or [settings.mode or getattr(benchmark, "mode", "")]
    if option and set(modes) == {Mode.MOST_NEGATIVE.value}:
        raise UsageError(
            f"{benchmark.name} is run in mode most-negative, which makes no use of epsilon",
            hint="add --mode threshold",
            input=option,
        )


def _refuse_others(settings: EvalSettings, used: Collection[str], message: str) -> None:
    """Refuse typed options that what runs no benchmark does not use."""
    refuse(settings, sorted(settings.typed - {*used}), message, hint="leave it out")


def _check_save(place: Path) -> None:
    """Refuse a place in no folder, and a file that is no calibration."""
    if not place.expanduser().parent.is_dir():
        hint = f"mkdir -p {shlex.quote(str(place.parent))}"
        raise UsageError(f"--save {place} is in a folder that is not there", hint=hint, input="--save")
    if place.expanduser().exists():
        try:
            read_calibration(place)
        except UsageError as error:
            said = f"--save {place} exists and is no calibration"
            raise UsageError(said, hint="give another name", input="--save") from error


def _check_together(settings: EvalSettings) -> None:
    if settings.save is not None and settings.save.suffix != ".json":
        raise UsageError(f"--save {settings.save} is no .json file", hint="such as calibration.json", input="--save")
    if settings.save is not None:
        _check_save(settings.save)
    settings.refuse_together("calibrate", "compare_precision", "sweep")
    if settings.compare_precision:
        from clipalign.evaluation.precisions import read_variants

        read_variants(settings.compare_precision)
        unused = ("engine", "precision", "output", "report", "resume", "overwrite")
        refuse(settings, unused, "--compare-precision makes no use of {}", hint="leave it out")
    if settings.calibrate:
        said = "--calibrate makes no use of {}"
        refuse(settings, ("epsilon", "mode"), said, hint="it tries every epsilon")
        refuse(settings, ("output", "report"), said, hint="use --save, or --format json")
    if settings.report is not None and settings.output is None:
        raise UsageError("--report needs --output", hint="the report is written there", input="--report")
