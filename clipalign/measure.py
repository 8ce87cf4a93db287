"""A benchmark for Python programs: what ``clipalign eval`` measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from clipalign.errors import UsageError
from clipalign.eval_results import EvalResult
from clipalign.models.registry import DEFAULT_MODEL
from clipalign.session import Session, load

_OF_EVERY_BENCHMARK: Final = ("seed", "protocol", "batch_size", "keep_vectors", "on_error", "resume", "overwrite")


def evaluate(
    dataset: str,
    *,
    model: str | Session = DEFAULT_MODEL,
    data_root: str | Path | None = None,
    limit: int | None = None,
    output: str | Path | None = None,
    cache_dir: str | Path | None = None,
    device: str = "auto",
    on_progress: Callable[[int], None] | None = None,
    **settings: Any,
) -> EvalResult | None:
    """Measure a model on a benchmark.

    Args:
        dataset: name of the benchmark, as ``--dataset`` of ``clipalign eval``.
        model: as for :func:`clipalign.load`, or a :class:`~clipalign.Session`.
        data_root: folder of the data; None for where :func:`clipalign.download` puts it.
        limit: samples at most.
        output: folder for ``samples.jsonl`` and ``result.json``.
        cache_dir: clipalign's cache folder, where it is not the usual one.
        device: of a model that is named.
        on_progress: called with the number of samples just done.
        settings: what the benchmark makes use of (``layers``, ``epsilon``, ``method``, …), ``seed``, ``protocol``,
            ``batch_size``, ``keep_vectors``, ``on_error``, ``resume``, ``overwrite``.

    Returns:
        The result; under ``torchrun`` None in all processes but the first.

    Raises:
        UnknownDataset, MissingDataset, InputUnreadable, UsageError; and as :func:`clipalign.load`.

    Example:
        >>> result = clipalign.evaluate("pictogram-foil", model="pictogram", limit=8)
        >>> result.counts
        {'samples': 8, 'unreadable': 0}
        >>> 0 <= result.values["la"] <= 1
        True
    """
    from clipalign.evaluation.evaluate import run_benchmark
    from clipalign.evaluation.registry import find_benchmark
    from clipalign.evaluation.settings import EvalSettings

    folders = {"data_root": data_root, "cache_dir": cache_dir, "output": output}
    paths: dict[str, Any] = {name: None if folder is None else Path(folder) for name, folder in folders.items()}
    benchmark = find_benchmark(dataset, data_root=paths["data_root"], cache_dir=paths["cache_dir"])
    known = (*benchmark.options, *_OF_EVERY_BENCHMARK)
    unused = [name for name in settings if name not in known]
    if unused:
        hint = f"it has {', '.join(known)}"
        raise UsageError(f"{dataset} makes no use of {', '.join(unused)}", hint=hint, input=unused[0])
    chosen = EvalSettings(dataset=dataset, limit=limit, **paths, **settings)
    benchmark.check()
    session = load(model, device=device, cache_dir=cache_dir) if isinstance(model, str) else model
    return run_benchmark(benchmark, session.loaded, chosen, progress=on_progress or (lambda samples: None))
