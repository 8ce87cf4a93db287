"""What several commands share: their arguments, the model, and runs of many records.

Checks run from cheap to costly: names, columns and outputs, then weights, then the import of torch; an earlier run's
output is untouched until the model is loaded. A command adds how to score with a model and how to show its records.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from clipalign.config.groups import MachineSettings, ModelSettings, RecordSettings
from clipalign.config.settings import refuse
from clipalign.data.words import reported_words, split_words
from clipalign.device import TORCH, choose_device
from clipalign.errors import EXIT_DONE, MissingWeights, UsageError, VerificationFailed
from clipalign.models.registry import ModelRow, find_model, with_activation
from clipalign.output import chosen_batch_format, render
from clipalign.output.console import notices, progress_console
from clipalign.output.formats import FORMATS
from clipalign.runs.destination import JOINED, document_format, refuse_sources
from clipalign.runs.distributed import find_shard, wait_for_all

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipalign.data.records import Input, InputRecord
    from clipalign.device import DeviceChoice
    from clipalign.methods.scores import Scorer
    from clipalign.models.model import LoadedModel
    from clipalign.output.records import RecordFormatter
    from clipalign.results import ClassifyResult, DetectResult, LongResult

STDIN: Final = "-"
OFFLINE_MODEL: Final = "pictogram"

OF_MANY: Final = ("columns", "keep_columns", "image_root", "keep_vectors", "fast_decode", "limit", "resume", "shard")

T = TypeVar("T")
R = TypeVar("R", bound="ClassifyResult | DetectResult | LongResult")

ImageArgument = Annotated[
    str | None, typer.Argument(metavar="IMAGE", help="A path, an http(s) URL, or - for standard input.")
]


def wants_many(settings: RecordSettings, arguments: Mapping[str, object]) -> bool:
    """Return whether ``--input`` is given; raise ``UsageError`` if arguments are given too."""
    given = [name for name, value in arguments.items() if value not in (None, (), [])]
    if "input" in settings.typed and given:
        raise UsageError(
            f"{' and '.join(given)} and --input exclude each other",
            hint="give either; a pattern of several inputs needs quotes: --input 'shards/*.tar'",
            input=given[0],
        )
    return bool(settings.input) and not given


def refuse_for_one(settings: RecordSettings, names: Sequence[str], *, what: str = "pairs", hint: str = "") -> None:
    """Raise ``UsageError`` for typed options that have no meaning for one pair or image."""
    given = [name for name in names if getattr(settings, name)]
    refuse(settings, given, f"{{}} is for many {what}", hint=hint or "give them with --input")


def check_image(image: str, settings: RecordSettings) -> None:
    """Raise ``UsageError`` if IMAGE is blank, is standard input without a pipe, or is the --output."""
    if not image.strip():
        raise UsageError("IMAGE is empty", hint="give a path, an http(s) URL, or -", input="IMAGE")
    if image == STDIN and (sys.stdin is None or sys.stdin.isatty()):
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"IMAGE is - but standard input is {state}", hint="pipe an image in", input="IMAGE")
    refuse_sources(settings.output, [image], "IMAGE")


def check_text(name: str, text: str, *, needs_word: bool = True) -> None:
    """Raise ``UsageError`` for a blank text, invalid UTF-8, or no word to score, before a model is loaded."""
    if not text.strip():
        raise UsageError(f"{name} is empty", hint="give at least one word, in quotes", input=name)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not valid UTF-8", hint="is the terminal's locale right?", input=name) from None
    if needs_word and not reported_words(split_words(text)):
        raise UsageError(f"{name} has no word to score", hint="give at least one word, in quotes", input=name)


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """A model whose weights and device are known, not yet in memory; ``option`` names it in hints."""

    row: ModelRow
    choice: DeviceChoice
    settings: MachineSettings
    option: str

    def load(self) -> LoadedModel:
        from clipalign.models.load import load_model

        row, settings = self.row, self.settings
        started = time.perf_counter()
        load = partial(load_model, row, choice=self.choice, cache_dir=settings.cache_dir, offline=settings.offline)
        with _other_model_hinted(row, self.option):
            loaded = _fetching_what_is_missing(load, row, settings)
        notices.inform(f"{row.name} loaded in {time.perf_counter() - started:.1f} s: {row.note or row.architecture}")
        for guess in loaded.notes:
            notices.warn(guess)
        return loaded


def choose_model(
    row: ModelRow, settings: MachineSettings, *, option: str = "--model", many: bool = True
) -> ChosenModel:
    """Check the weights, choose the device, and warn of a precision that is not available.

    ``many``: whether so many pictures come that an engine that takes seconds to compile may pay.
    """
    row = with_activation(row, settings.quick_gelu)
    if settings.accept_license:
        from clipalign.commands.download import check_accepted

        check_accepted(settings)
    with _other_model_hinted(row, option):
        _check_weights(row, settings)
    engine = settings.engine if isinstance(settings, ModelSettings) else TORCH
    choice = choose_device(settings.device, settings.precision, settings.threads, engine=engine, many=many)
    if settings.precision not in ("auto", choice.precision):
        notices.warn(choice.reason)
    notices.inform(choice.reason)
    return ChosenModel(row, choice, settings, option)


def _check_weights(row: ModelRow, settings: MachineSettings) -> None:
    """Report missing weights before torch is imported; open_clip's tags wait for open_clip."""
    from clipalign.models.weights import locate

    if not any(source.kind == "open_clip" for source in row.weights):
        look = partial(locate, row, cache_dir=settings.cache_dir, offline=settings.offline)
        _fetching_what_is_missing(look, row, settings)


def _fetching_what_is_missing(action: Callable[[], T], row: ModelRow, settings: MachineSettings) -> T:
    """Repeat ``action`` after downloading missing files, if allowed; a damaged file is never replaced unasked."""
    try:
        return action()
    except VerificationFailed:
        raise
    except MissingWeights:
        wanted = settings.download if settings.download is not None else _stderr_is_terminal()
        if settings.offline or not wanted or all(source.kind in ("embedded", "file") for source in row.weights):
            raise
    from clipalign.commands.download import download_context
    from clipalign.download.named import fetch_row

    fetch_row(row, settings, download_context(settings))
    return action()


def _stderr_is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def _other_model_hinted(row: ModelRow, option: str) -> Iterator[None]:
    """Name a local model in the hint where weights would have to be downloaded."""
    try:
        yield
    except MissingWeights as error:
        if row.name != OFFLINE_MODEL and error.hint.startswith("clipalign download"):
            error.hint += f"; or {option} {OFFLINE_MODEL}, which is here but knows pictogram scenes only"
        raise


def run_one(
    settings: RecordSettings,
    formatter: RecordFormatter,
    image: str,
    score: Callable[[LoadedModel, Image], Sequence[R]],
) -> Sequence[R]:
    format = document_format(settings)
    chosen = choose_model(find_model(settings.model), settings, many=False)

    from clipalign.data.images import open_image, thumbnail_of
    from clipalign.output.html import LARGE_PX

    picture = open_image(image, offline=settings.offline, timeout=settings.timeout)
    results = score(chosen.load(), picture)
    for result in results:
        for warning in result.warnings:
            notices.warn(warning if len(results) == 1 else f"text {result.id}: {warning}")
    render(
        formatter,
        results,
        format=format,
        thumbnail=thumbnail_of(picture, LARGE_PX) if format == "html" else None,
        output=settings.output,
        overwrite=settings.overwrite,
    )
    return results


def run_many(
    settings: RecordSettings,
    formatter: RecordFormatter,
    scorer: Callable[[LoadedModel], Scorer[Any]],
    *,
    source: Input | None = None,
    needs_text: bool = True,
    check: bool = False,
) -> int:
    """Score the records of ``settings.input``, or of ``source``, and return the exit status.

    Args:
        scorer: makes the method of a loaded model.
        needs_text: whether a record without a text is invalid.
        check: whether a finding sets the exit status.

    Raises:
        UsageError: options that contradict each other, or an output that may not be written.
        InputUnreadable: an input as a whole; with ``--on-error fail`` the first bad record.
    """
    from clipalign.data.columns import ALL_COLUMNS
    from clipalign.data.readers import open_input
    from clipalign.runs.writer import open_writer

    row = find_model(settings.model)
    shard = find_shard(settings)
    if shard is not None:
        _check_sharded(settings)
    source = source or open_input(
        settings.input,
        image_root=settings.image_root,
        needs_text=needs_text,
        columns=settings.columns,
        keep=settings.keep_columns,
        limit=settings.limit,
        offline=settings.offline,
    )
    if STDIN in settings.input and FORMATS[chosen_batch_format(settings)].has_originals:
        raise UsageError("a tar needs an input that can be read twice", hint="write it into a file", input=STDIN)
    formatter.kept = tuple(name for name in settings.keep_columns if name != ALL_COLUMNS)
    formatter.keeps_all = ALL_COLUMNS in settings.keep_columns
    with open_writer(settings, formatter, shard=shard) as writer:
        if writer.finished:
            _finished_already(writer.name, check=check)
            wait_for_all()
            return EXIT_DONE
        total = source.count() if shard is None and progress_console() is not None else None
        loaded = choose_model(row, settings).load()
        method = scorer(loaded)
        part = None if shard is None else (shard.index, shard.count)
        writer.begin(method.provenance, total=total, pictures=lambda: originals_of(source.records(part), settings))

        from clipalign.models.vector_store import VectorStore
        from clipalign.runs.batch import run_batch

        outcomes = run_batch(
            writer.remaining(source.records(part)),
            method,
            offline=settings.offline,
            timeout=settings.timeout,
            on_error=settings.on_error or "skip",
            thumbnail_px=writer.thumbnail_px,
            store=VectorStore(method.picture_key, keep_gb=settings.keep_vectors, cache_dir=settings.cache_dir),
            late=source.late,
        )
        try:
            for outcome in outcomes:
                if not writer.write(outcome):
                    break
        finally:
            outcomes.close()
    if not writer.tally.records:
        notices.warn(f"there are no records in {source.name if shard is None else f'this shard of {source.name}'}")
    wait_for_all()
    return writer.exit_status(check=check)


def _finished_already(output: str, *, check: bool) -> None:
    """A job that was killed in its last moment, and is started again with the others, has succeeded."""
    hint = "--overwrite makes it anew"
    if check:
        raise UsageError(f"{output} is finished, and what --check asks is not known from it", hint=hint, input=output)
    notices.warn(f"{output} is finished already and was not compared with this input; {hint}")


def originals_of(records: Iterator[InputRecord], settings: RecordSettings) -> Iterator[Callable[[], bytes]]:
    """Functions that read the pictures of records as they were."""
    from clipalign.data.sources import read_image

    for record in records:
        source = record.image if isinstance(record.image, str | bytes) else Path(str(record.image))
        yield partial(
            read_image,
            source,
            offline=settings.offline,
            timeout=settings.timeout,
            name=record.image_name,
            folders=record.folders,
        )


def _check_sharded(settings: RecordSettings) -> None:
    if settings.top_share is not None and settings.shard is not None:
        hint = "score all shards, find the threshold, and give it: --where 'clip_score >= 0.7'"
        raise UsageError("--top-share needs all records", hint=hint, input="--top-share")
    format = chosen_batch_format(settings)
    if format not in JOINED:
        hint = f"--format {' or '.join(JOINED)}; their parts can be put together"
        raise UsageError(f"the format {format} cannot be written in shards", hint=hint, input="--format")
