"""``clipalign download``: models and data sets, listed, fetched, verified and removed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from clipalign.cache import cache_folder
from clipalign.commands.options import expand_options
from clipalign.config.groups import FetchSettings
from clipalign.config.settings import Setting, declared
from clipalign.download.dataset_rows import DATASETS
from clipalign.errors import EXIT_DONE, DownloadFailed, Interrupted, MissingWeights, UsageError, VerificationFailed
from clipalign.models.registry import ROWS
from clipalign.output import chosen_format
from clipalign.output.console import notices, stdout_is_terminal, visible, write_output

if TYPE_CHECKING:
    from clipalign.download.dataset_rows import DatasetRow
    from clipalign.download.fetch import DownloadContext, DownloadResult
    from clipalign.models.registry import ModelRow


@dataclass(frozen=True, kw_only=True)
class DownloadOptions(FetchSettings):
    """Settings of the command; its tasks are typed for one run, as no file or variable must make it remove things."""

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
    """Models and data sets."""
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

    What was cut is resumed, everything is checked by SHA-256 where one is known and moved into place when it is whole.
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
    asked = [declared(DownloadOptions)[name].flag for name in tasks if getattr(settings, name)]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} do not go together", input=asked[1])
    names = list(dict.fromkeys(names or []))
    if settings.handed_over and (len(names) != 1 or asked):
        raise UsageError("--from needs the name of one data set, and nothing else", input="--from")
    if settings.remove and not names:
        raise UsageError("--remove needs a name", hint="clipalign download lists what is here", input="--remove")
    notices.inform(f"data sets and hashes are kept in {cache_folder(settings.cache_dir)}")
    task = _Task(settings, names)
    if settings.verify:
        return task.verify()
    if settings.remove:
        return task.remove()
    if settings.list_them or not names:
        return task.list_them()
    if settings.dry_run:
        return task.show_plan()
    return task.fetch(settings.handed_over, again=_line_of(names, settings))


def _line_of(names: Sequence[str], settings: DownloadOptions) -> str:
    """The same fetch once more, as it is typed; what comes from a settings file or a variable holds anyhow."""
    words = ["clipalign", "download", *names]
    words += [word for file in settings.handed_over for word in ("--from", str(file))]
    if "accept_license" in settings.typed:
        words += [word for name in settings.accept_license for word in ("--accept-license", name)]
    return shlex.join([*words, "--cache-dir", str(settings.cache_dir)] if "cache_dir" in settings.typed else words)


class _Task:
    """One run of the command."""

    def __init__(self, settings: DownloadOptions, names: Sequence[str]) -> None:
        from clipalign.download.catalog import find

        check_accepted(settings)
        self.settings, self.names = settings, names
        self.format = chosen_format(settings)
        self.rows: list[ModelRow | DatasetRow] = [find(name) for name in names]

    def list_them(self) -> int:
        from clipalign.download.catalog import all_statuses, status_of
        from clipalign.output.download import listing, listing_record

        cache_dir = self.settings.cache_dir
        found = [status_of(row, cache_dir) for row in self._resolved()] if self.names else all_statuses(cache_dir)
        if self.format == "json":
            self._write_json(listing_record(found, str(cache_folder(cache_dir))))
        else:
            write_output(listing(found))
        return EXIT_DONE

    def show_plan(self) -> int:
        from clipalign.download.catalog import check_license, status_of, still_by_hand
        from clipalign.errors import LicenseNotAccepted
        from clipalign.output.download import size_of

        records: list[dict[str, object]] = []
        lines: list[str] = []
        for row in self._with_needs(self._resolved()):
            found = status_of(row, self.settings.cache_dir)
            does, hint = ("nothing: it is here", "") if found.state == "here" else ("fetch", "")
            if does == "fetch" and (instructions := still_by_hand(row, self.settings.cache_dir)):
                does, hint = "by hand", "; ".join(instructions)
            elif does == "fetch":
                try:
                    check_license(row, self.settings.accept_license)
                except LicenseNotAccepted as error:
                    does, hint = "license not accepted", f"{error.message}; {error.hint}"
            records.append(
                {
                    "name": row.name, "kind": found.kind, "would": does, "size_bytes": found.size_bytes or None,
                    "source": found.source, "path": str(found.place), "hint": hint or None,
                }
            )  # fmt: skip
            size = f"{size_of(found.size_bytes)} from {found.source} to {found.place}"
            lines.append(f"{found.name}: {does}{f', {size}' if does == 'fetch' else ''}")
            lines += [f"  {visible(hint)}"] if hint else []
        self._results(records, lines)
        return EXIT_DONE

    def fetch(self, handed_over: Sequence[Path], *, again: str) -> int:
        from clipalign.download.dataset_rows import DatasetRow

        if handed_over and not isinstance(self.rows[0], DatasetRow):
            raise UsageError(
                "--from is for data sets", hint="a checkpoint is named where it is used: --model FILE", input="--from"
            )
        context = download_context(self.settings)
        records: list[dict[str, object]] = []
        lines: list[str] = []
        failed: list[MissingWeights] = []
        rows = [*self.rows] if handed_over else self._with_needs(self.rows)
        try:
            for row in rows:
                try:
                    brought = fetch_row(row, self.settings, context, handed_over=handed_over)
                except MissingWeights as error:
                    failed.append(error)
                    if len(rows) > 1:
                        notices.warn(f"{row.name}: {error.message}")
                    continue
                records.append(_record(row, brought))
                lines += _lines(row, brought)
        except KeyboardInterrupt:
            raise Interrupted("interrupted", hint=f"what has come is kept; go on with: {again}") from None
        if failed:
            if self.format != "json" and lines:
                write_output("\n".join([*lines, ""]))
            _raise_all(failed, len(rows))
        self._results(records, lines)
        return EXIT_DONE

    def verify(self) -> int:
        from clipalign.download.catalog import find, status_of
        from clipalign.download.catalog import verify as wrong_with

        cache_dir = self.settings.cache_dir
        rows = self._resolved() or [find(name) for name in (*ROWS, *DATASETS)]
        records, lines, problems = [], [], []
        for row in rows:
            if status_of(row, cache_dir).state not in ("here", "damaged", "part"):
                if self.names:
                    lines.append(f"{row.name}: not here")
                    records.append({"name": row.name, "state": "absent", "verified": False})
                continue
            wrong = wrong_with(row, cache_dir)
            problems += wrong
            verified = not wrong and status_of(row, cache_dir).verified
            state = "damaged" if wrong else status_of(row, cache_dir).state
            records.append({"name": row.name, "state": state, "verified": verified})
            unknown = "a part of it is here" if state == "part" else "here, but no hash is known"
            lines.append(f"{row.name}: {state if wrong else 'verified' if verified else unknown}")
            for sentence in wrong:
                lines.append(f"  {visible(sentence)}")
        if problems:
            if self.format != "json":
                write_output("\n".join([*lines, ""]))
            first = next(record["name"] for record in records if record["state"] == "damaged")
            raise VerificationFailed(
                f"{len(problems):,} {'file is' if len(problems) == 1 else 'files are'} not what they should be: "
                f"{'; '.join(problems[:3])}{'; …' if len(problems) > 3 else ''}",
                hint=f"clipalign download --remove {shlex.quote(str(first))}, then fetch it again",
                input=str(first),
            )
        if absent := [str(record["name"]) for record in records if record["state"] == "absent"]:
            if self.format != "json":
                write_output("\n".join([*lines, ""]))
            raise MissingWeights(
                f"not on this machine: {', '.join(absent)}",
                hint=f"clipalign download {shlex.join(absent)}",
                input=absent[0],
            )
        self._results(records, lines or ["nothing is here yet"])
        return EXIT_DONE

    def remove(self) -> int:
        from clipalign.download.catalog import remove as delete
        from clipalign.output.download import size_of

        records, lines = [], []
        for row in self.rows:
            paths, size = delete(row, self.settings.cache_dir)
            state = "removed" if paths else "absent"
            records.append(
                {"name": row.name, "state": state, "freed_bytes": size, "paths": [str(path) for path in paths]}
            )
            lines.append(f"{row.name}: {f'removed, {size_of(size)} freed' if paths else 'was not here'}")
            lines += [f"  {visible(str(path))}" for path in paths]
        self._results(records, lines)
        return EXIT_DONE

    def _resolved(self) -> list[ModelRow | DatasetRow]:
        """The rows, with the files of tags."""
        from clipalign.download.dataset_rows import DatasetRow
        from clipalign.download.models import with_files

        return [row if isinstance(row, DatasetRow) else with_files(row) for row in self.rows]

    def _with_needs(self, rows: Sequence[ModelRow | DatasetRow]) -> list[ModelRow | DatasetRow]:
        """Each data set after those it needs, and everything once."""
        from clipalign.download.dataset_rows import DatasetRow

        found: dict[str, ModelRow | DatasetRow] = {}
        for row in rows:
            for needed in row.needs if isinstance(row, DatasetRow) else ():
                found.setdefault(needed, DATASETS[needed])
            found.setdefault(row.name, row)
        return list(found.values())

    def _results(self, records: Sequence[dict[str, object]], lines: Sequence[str]) -> None:
        if self.format == "json":
            self._write_json({"results": list(records)})
        else:
            write_output("\n".join([*lines, ""]))

    def _write_json(self, document: dict[str, object]) -> None:
        from clipalign.output.json import encode

        write_output(encode(document, indent=stdout_is_terminal()), is_data=True)


def check_accepted(settings: FetchSettings) -> None:
    """Every name whose license is accepted is one.

    Raises:
        UnknownModel, UnknownDataset: it is not, so that nothing would be accepted.
        UsageError: it is generated, and has no license.
    """
    if settings.accept_license:
        from clipalign.download.catalog import find

        for name in settings.accept_license:
            find(name)


def download_context(settings: FetchSettings) -> DownloadContext:
    """The way things are fetched, told to the user through the notices."""
    from clipalign.download.fetch import DownloadContext
    from clipalign.download.web import Web
    from clipalign.output.download import fetch_progress

    return DownloadContext(
        web=Web(tell=notices.tell, offline=settings.offline),
        progress=fetch_progress,
        cache_dir=settings.cache_dir,
    )


def fetch_row(
    row: ModelRow | DatasetRow, settings: FetchSettings, context: DownloadContext, *, handed_over: Sequence[Path] = ()
) -> list[DownloadResult]:
    """Fetch a model or a data set, where its license and ``--offline`` allow it; what is here needs neither.

    Raises:
        LicenseNotAccepted, MissingWeights, MissingDataset, DownloadFailed, VerificationFailed, OutputError.
        UsageError: a file of the user's own, or one handed over that is none of the data set's.
    """
    from clipalign.download.catalog import check_license, status_of
    from clipalign.download.dataset_rows import DatasetRow
    from clipalign.download.datasets import fetch_dataset
    from clipalign.download.models import fetch_model, with_files
    from clipalign.download.web import NO_NETWORK

    if not isinstance(row, DatasetRow):
        row = with_files(row)
    here = bool(row.files if isinstance(row, DatasetRow) else row.weights)
    here = here and status_of(row, settings.cache_dir).state in ("here", "damaged")
    if not here and not handed_over:
        if not (isinstance(row, DatasetRow) and all(file.by_hand for file in row.files)):
            check_license(row, settings.accept_license)
        if settings.offline:
            raise MissingWeights(
                f"{row.name} is not on this machine, and --offline (or HF_HUB_OFFLINE) forbids fetching it",
                hint=f"run it without --offline (and without HF_HUB_OFFLINE); or, {_elsewhere(row, settings)}",
                input=row.name,
            )
    try:
        if isinstance(row, DatasetRow):
            if handed_over:
                return fetch_dataset(row, context, handed_over=handed_over)
            return fetch_dataset(row, context)
        return fetch_model(row, context)
    except DownloadFailed as error:
        if error.hint == NO_NETWORK:
            error.hint = f"{NO_NETWORK} If not, {_elsewhere(row, settings)}"
        raise


def _elsewhere(row: ModelRow | DatasetRow, settings: FetchSettings) -> str:
    """What to type on another machine, and what to do with what comes."""
    accepted = f" --accept-license {shlex.quote(row.name)}" if row.name in settings.accept_license else ""
    line = f"clipalign download {shlex.quote(row.name)} --cache-dir carry/clipalign{accepted}"
    return (
        f"on a machine with a network: HF_HOME=carry/huggingface {line}; "
        "then bring the folder carry here, and run with the same HF_HOME and --cache-dir"
    )


def _record(row: ModelRow | DatasetRow, brought: Sequence[DownloadResult]) -> dict[str, object]:
    from clipalign.models.registry import ModelRow

    return {
        "name": row.name,
        "kind": "model" if isinstance(row, ModelRow) else "dataset",
        "state": "fetched" if any(one.fresh for one in brought) else "here",
        "verified": all(one.verified for one in brought),
        "files": [asdict(one) | {"path": str(one.path), "sha256": one.sha256 or None} for one in brought],
    }


def _lines(row: ModelRow | DatasetRow, brought: Sequence[DownloadResult]) -> list[str]:
    from clipalign.output.download import size_of

    size = size_of(sum(one.size_bytes for one in brought))
    done = "fetched" if any(one.fresh for one in brought) else "here already"
    checked = "verified" if all(one.verified for one in brought) else "no hash is known for all of it"
    place = brought[0].path if len(brought) == 1 else brought[0].path.parent
    return [f"{row.name}: {done}, {size}, {checked}, {visible(str(place))}"]


def _raise_all(failed: Sequence[MissingWeights], rows: int) -> NoReturn:
    """One error for several, with the status they share."""
    if len(failed) == 1:
        raise failed[0]
    hints = list(dict.fromkeys(error.hint for error in failed if error.hint))
    raise DownloadFailed(
        f"{len(failed)} of {rows} could not be fetched: {'; '.join(error.message for error in failed)}",
        hint="; ".join(hints),
        input=", ".join(error.input for error in failed if error.input),
    )
