"""Options of ``download``: its tasks, and what it shares."""

from typing import Annotated, TypedDict

from clipalign.options.everywhere import DocumentFormat, EverywhereOptions
from clipalign.options.model import AcceptLicense, CacheDir, Offline
from clipalign.options.option import TASK_PANEL, option


class TaskOptions(TypedDict, total=False):
    """What is done with the names; no settings, because a file must not make a download remove things."""

    list_them: Annotated[bool | None, option("--list", help="List, and fetch nothing.", panel=TASK_PANEL)]
    dry_run: Annotated[
        bool | None, option("--dry-run", help="Say what would be fetched, and from where.", panel=TASK_PANEL)
    ]
    verify: Annotated[
        bool | None,
        option("--verify", help="Read what is here once more and hold it against its hashes.", panel=TASK_PANEL),
    ]
    remove: Annotated[
        bool | None, option("--remove", help="Delete what is here, unfinished parts too.", panel=TASK_PANEL)
    ]
    handed_over: Annotated[
        list[str] | None,
        option(
            "--from",
            value="FILE",
            help="A file of this data set that you fetched yourself: verified, unpacked and put in its place. May be "
            "repeated.",
            panel=TASK_PANEL,
        ),
    ]


class _FetchOptions(TypedDict, total=False):
    accept_license: AcceptLicense
    format: DocumentFormat
    cache_dir: CacheDir
    offline: Offline


class DownloadOptions(TaskOptions, _FetchOptions, EverywhereOptions, total=False):
    """Of ``download``, in the order of its help."""
