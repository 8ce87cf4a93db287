"""What every command does with many records: input, share, output, model, run, and the status at the end.

Cheapest check first: names, columns and outputs before the weights, the weights before torch, and nothing of an earlier
run is touched before the model is loaded. A command brings what it makes of a loaded model and how its records look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from clipalign.batch.journal import APPENDED, open_sink
from clipalign.batch.shares import Share, find_share, wait_for_others, with_own_device
from clipalign.commands.model import choose_model
from clipalign.errors import UsageError
from clipalign.inputs import Input, open_input
from clipalign.registry import find_model
from clipalign.report import chosen_batch_format
from clipalign.report.console import notices, progress_console

if TYPE_CHECKING:
    from clipalign.methods.scorer import Scorer
    from clipalign.pipeline.loaded import LoadedModel
    from clipalign.report.records import RecordView
    from clipalign.settings import Settings

SKIP: Final = "skip"


def run_many(
    settings: Settings,
    view: RecordView,
    scorer: Callable[[LoadedModel], Scorer[Any]],
    *,
    source: Input | None = None,
    needs_text: bool = True,
) -> int:
    """Score the records of ``settings.input`` and return the exit status.

    Args:
        settings: of the run.
        view: how the command's records look.
        scorer: makes the method of a loaded model.
        source: the records, instead of what ``settings.input`` names.
        needs_text: whether a record without a text is a bad one.

    Raises:
        UsageError: options that contradict each other, or an output that may not be written.
        InputUnreadable: an input as a whole; with ``--on-error fail`` the first bad record.
        ClipalignError: whatever else keeps the model from scoring.
    """
    row = find_model(settings.model)
    share = find_share(settings)
    if share is not None:
        _check_shared(settings)
    source = source or open_input(settings.input, image_root=settings.image_root, needs_text=needs_text)
    output = settings.output if share is None or settings.output is None else share.output(settings.output)
    with open_sink(settings, view, output=output, first_share=share is None or share.index == 1) as sink:
        part, total = _extent(source, share)
        loaded = choose_model(row, with_own_device(settings)).load()
        method = scorer(loaded)
        sink.begin(method.provenance, total=total)

        from clipalign.batch.runner import run_batch

        finished = run_batch(
            sink.unfinished(source.records(part)),
            method,
            offline=settings.offline,
            timeout=settings.timeout,
            on_error=settings.on_error or SKIP,
            thumbnail_px=sink.thumbnail_px,
            late=source.late,
        )
        try:
            for one in finished:
                if not sink.write(one):
                    break
        finally:
            finished.close()
    if not sink.tally.records:
        notices.warn(f"there are no records in {source.name if share is None else f'this share of {source.name}'}")
    wait_for_others()
    return sink.exit_status(check=settings.check)


def _check_shared(settings: Settings) -> None:
    format = chosen_batch_format(settings)
    if format not in APPENDED:
        hint = f"--format {' or '.join(APPENDED)}; their parts can be put together with cat"
        raise UsageError(f"the format {format} cannot be written in shares", hint=hint, input="--format")


def _extent(source: Input, share: Share | None) -> tuple[slice | None, int | None]:
    """The stretch of the input that is done, None for all of it, and how long it is where somebody wants to know."""
    if share is None:
        return None, source.count() if progress_console() is not None else None
    records = source.count()
    if records is None:
        hint = "write it into a file first"
        raise UsageError("a pipe cannot be shared out, as it cannot be counted", hint=hint, input=source.name)
    part = share.of(records)
    return part, part.stop - part.start
