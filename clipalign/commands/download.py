"""``clipalign download``: models and data sets, listed, fetched, verified and removed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from clipalign.cache import cache_folder
from clipalign.commands.options import expand_options
from clipalign.config.groups import FetchSettings
from clipalign.config.settings import Setting
from clipalign.download.dataset_rows import DATASETS, DatasetRow
from clipalign.errors import (
    EXIT_DONE,
    ClipalignError,
    DownloadFailed,
    Interrupted,
    LicenseNotAccepted,
    MissingWeights,
    UsageError,
    VerificationFailed,
)
from clipalign.models.registry import ROWS, ModelRow
from clipalign.output import chosen_format, write_record
from clipalign.output.console import notices, visible

if TYPE_CHECKING:
    from clipalign.download.fetch import DownloadContext, DownloadResult

Row: TypeAlias = ModelRow | DatasetRow


@dataclass(frozen=True, kw_only=True)
class DownloadOptions(FetchSettings):
    """Settings of the command; its tasks must be typed, so that no file or variable makes it remove things."""

    panel = "Task"

    list_them: Annotated[
        bool,
        Setting("List models and data sets; fetch nothing.", flag="--list", plain=True, file=False, variable=False),
    ] = False
    dry_run: Annotated[
        bool, Setting("Show what would be fetched, and from where.", plain=True, file=False, variable=False)
    ] = False
    verify: Annotated[
        bool, Setting("Check files that are here against their hashes.", plain=True, file=False, variable=False)
    ] = False
    remove: Annotated[
        bool, Setting("Delete what is here, partial files too.", plain=True, file=False, variable=False)
    ] = False
    handed_over: Annotated[
        tuple[Path, ...],
        Setting(
            "A file of this data set that you fetched yourself: verified, unpacked and put in its place. May be "
            "repeated.",
            value="FILE",
            flag="--from",
            file=False,
            variable=False,
        ),
    ] = ()


def complete_names(incomplete: str) -> list[str]:
    return [name for name in (*ROWS, *DATASETS) if name.startswith(incomplete)]


Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Models, as --model takes them, and data sets; without one, the list of all.",
        autocompletion=complete_names,
    ),
]


@expand_options("download")
def download(
    names: Names = None,
    *,
    settings: DownloadOptions,
) -> int:
    """List, fetch, verify and remove models and data sets.

    Interrupted downloads are resumed; files are checked by SHA-256 where one is known, then moved into place.
    Weights go where open_clip and Hugging Face look for them too, data sets into clipalign's own cache. HF_HOME,
    HF_ENDPOINT, HF_TOKEN and the proxies' variables are respected.

    Examples:
      clipalign download --list
      clipalign download ViT-B-32 longclip-B
      clipalign download ViT-L-14@datacomp_xl_s13b_b90k
      clipalign download cub --accept-license cub
      clipalign download imagenet --from ILSVRC2012_img_val.tar
      clipalign download --list --format json
    """
    tasks = ("list_them", "verify", "remove", "dry_run")
    settings.refuse_together(*tasks)
    names = list(dict.fromkeys(names or []))
    if settings.handed_over and (len(names) != 1 or settings.typed.intersection(tasks)):
        raise UsageError("--from needs the name of one data set, and nothing else", input="--from")
    if settings.remove and not names:
        raise UsageError("--remove needs a name", hint="clipalign download lists what is here", input="--remove")
    notices.inform(f"data sets and hashes are kept in {cache_folder(settings.cache_dir)}")

    from clipalign.download.catalog import find

    check_accepted(settings)
    rows = [find(name) for name in names]
    if settings.list_them or not (names or settings.verify):
        return _list(rows, settings)
    if settings.verify:
        answer = _verify(rows, settings)
    elif settings.remove:
        answer = _remove(rows, settings)
    elif settings.dry_run:
        answer = _plan(rows, settings)
    else:
        answer = _fetch(rows, settings, again=_line_of(names, settings))
    answer.write(chosen_format(settings))
    return EXIT_DONE


@dataclass
class _Answer:
    records: list[Mapping[str, object]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    error: ClipalignError | None = None

    def add(self, record: Mapping[str, object], line: str, details: Iterable[str] = ()) -> None:
        self.records.append(record)
        self.lines += [line, *(f"  {visible(detail)}" for detail in details)]

    def write(self, format: str) -> None:
        """Write it to stdout and raise the error, if any; with JSON the error replaces the document."""
        if self.error is None or (self.lines and format != "json"):
            write_record({"results": self.records}, "\n".join([*self.lines, ""]), format=format)
        if self.error is not None:
            raise self.error


def _list(rows: Sequence[Row], settings: DownloadOptions) -> int:
    from clipalign.download.catalog import all_statuses, status_of
    from clipalign.output.download import listing, listing_record

    cache_dir = settings.cache_dir
    found = [status_of(row, cache_dir) for row in _with_files(rows)] if rows else all_statuses(cache_dir)
    record = listing_record(found, str(cache_folder(cache_dir)))
    write_record(record, listing(found), format=chosen_format(settings))
    return EXIT_DONE


def _plan(rows: Sequence[Row], settings: DownloadOptions) -> _Answer:
    from clipalign.download.catalog import check_license, status_of, still_by_hand
    from clipalign.download.named import with_needs
    from clipalign.output.download import size_of

    answer = _Answer()
    for row in with_needs(_with_files(rows)):
        found = status_of(row, settings.cache_dir)
        does, hint, details = "fetch", "", ""
        if found.state == "here":
            does = "nothing: it is here"
        elif instructions := still_by_hand(row, settings.cache_dir):
            does, hint = "by hand", "; ".join(instructions)
        else:
            try:
                check_license(row, settings.accept_license)
                details = f", {size_of(found.size_bytes)} from {found.source} to {found.place}"
            except LicenseNotAccepted as error:
                does, hint = "license not accepted", f"{error.message}; {error.hint}"
        record = {
            "name": row.name, "kind": found.kind, "would": does, "size_bytes": found.size_bytes or None,
            "source": found.source, "path": str(found.place), "hint": hint or None,
        }  # fmt: skip
        answer.add(record, f"{found.name}: {does}{details}", [hint] if hint else [])
    return answer


def _fetch(rows: Sequence[Row], settings: DownloadOptions, *, again: str) -> _Answer:
    if settings.handed_over and not isinstance(rows[0], DatasetRow):
        raise UsageError(
            "--from is for data sets", hint="a checkpoint is named where it is used: --model FILE", input="--from"
        )
    from clipalign.download.named import fetch_row, with_needs

    context = download_context(settings)
    answer = _Answer()
    failed: list[MissingWeights] = []
    wanted = rows if settings.handed_over else with_needs(rows)
    try:
        for row in wanted:
            try:
                results = fetch_row(row, settings, context, handed_over=settings.handed_over)
                answer.add(_record(row, results), _line(row, results))
            except MissingWeights as error:
                failed.append(error)
                if len(wanted) > 1:
                    notices.warn(f"{row.name}: {error.message}")
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint=f"what has come is kept; go on with: {again}") from None
    if failed:
        answer.error = _together(failed, len(wanted))
    return answer


def _verify(rows: Sequence[Row], settings: DownloadOptions) -> _Answer:
    from clipalign.download.catalog import find, status_of, verify

    answer = _Answer()
    problems: list[str] = []
    damaged, absent = [], []
    for row in _with_files(rows) or [find(name) for name in (*ROWS, *DATASETS)]:
        found = status_of(row, settings.cache_dir)
        if found.state not in ("here", "damaged", "part"):
            if rows:
                absent.append(row.name)
                answer.add({"name": row.name, "state": "absent", "verified": False}, f"{row.name}: not here")
            continue
        wrong = verify(row, settings.cache_dir)
        problems += wrong
        found = status_of(row, settings.cache_dir)  # verifying may have found out more
        state, verified = ("damaged", False) if wrong else (found.state, found.verified)
        said = "verified" if verified else "a part of it is here" if state == "part" else "here, but no hash is known"
        record = {"name": row.name, "state": state, "verified": verified}
        answer.add(record, f"{row.name}: {state if wrong else said}", wrong)
        damaged += [row.name] if wrong else []
    if problems:
        answer.error = VerificationFailed(
            f"{len(problems):,} {'file is' if len(problems) == 1 else 'files are'} not what they should be: "
            f"{'; '.join(problems[:3])}{'; …' if len(problems) > 3 else ''}",
            hint=f"clipalign download --remove {shlex.quote(damaged[0])}, then fetch it again",
            input=damaged[0],
        )
    elif absent:
        hint = f"clipalign download {shlex.join(absent)}"
        answer.error = MissingWeights(f"not on this machine: {', '.join(absent)}", hint=hint, input=absent[0])
    answer.lines = answer.lines or ["nothing is here yet"]
    return answer


def _remove(rows: Sequence[Row], settings: DownloadOptions) -> _Answer:
    from clipalign.download.catalog import remove
    from clipalign.output.download import size_of

    answer = _Answer()
    for row in rows:
        paths, size = remove(row, settings.cache_dir)
        names = [str(path) for path in paths]
        record = {"name": row.name, "state": "removed" if names else "absent", "freed_bytes": size, "paths": names}
        answer.add(record, f"{row.name}: {f'removed, {size_of(size)} freed' if names else 'was not here'}", names)
    return answer


def _with_files(rows: Sequence[Row]) -> list[Row]:
    from clipalign.download.models import with_files

    return [with_files(row) if isinstance(row, ModelRow) else row for row in rows]


def _line_of(names: Sequence[str], settings: DownloadOptions) -> str:
    words = ["clipalign", "download", *names]
    words += [word for file in settings.handed_over for word in ("--from", str(file))]
    if "accept_license" in settings.typed:
        words += [word for name in settings.accept_license for word in ("--accept-license", name)]
    return shlex.join([*words, "--cache-dir", str(settings.cache_dir)] if "cache_dir" in settings.typed else words)


def check_accepted(settings: FetchSettings) -> None:
    """Raise an error if ``--accept-license`` names something unknown or generated."""
    if settings.accept_license:
        from clipalign.download.catalog import find

        for name in settings.accept_license:
            find(name)


def download_context(settings: FetchSettings) -> DownloadContext:
    from clipalign.download.fetch import DownloadContext
    from clipalign.download.web import Web
    from clipalign.output.download import fetch_progress

    return DownloadContext(
        web=Web(tell=notices.tell, offline=settings.offline),
        progress=fetch_progress,
        cache_dir=settings.cache_dir,
    )


def _record(row: Row, results: Sequence[DownloadResult]) -> dict[str, object]:
    return {
        "name": row.name,
        "kind": "model" if isinstance(row, ModelRow) else "dataset",
        "state": "fetched" if any(one.fresh for one in results) else "here",
        "verified": all(one.verified for one in results),
        "files": [asdict(one) | {"path": str(one.path), "sha256": one.sha256 or None} for one in results],
    }


def _line(row: Row, results: Sequence[DownloadResult]) -> str:
    from clipalign.output.download import size_of

    size = size_of(sum(one.size_bytes for one in results))
    done = "fetched" if any(one.fresh for one in results) else "here already"
    checked = "verified" if all(one.verified for one in results) else "no hash is known for all of it"
    path = results[0].path if len(results) == 1 else results[0].path.parent
    return f"{row.name}: {done}, {size}, {checked}, {visible(str(path))}"


def _together(failed: Sequence[MissingWeights], rows: int) -> MissingWeights:
    if len(failed) == 1:
        return failed[0]
    hints = list(dict.fromkeys(error.hint for error in failed if error.hint))
    return DownloadFailed(
        f"{len(failed)} of {rows} could not be fetched: {'; '.join(error.message for error in failed)}",
        hint="; ".join(hints),
        input=", ".join(error.input for error in failed if error.input),
    )
