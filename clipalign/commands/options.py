"""Options from declared settings: what Typer reads, and the settings that a command gets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import typer

from clipalign.commands import settings_tables
from clipalign.config.resolve import foreign_files, resolve, unknown_variables
from clipalign.config.settings import CommandSettings, Setting, declared
from clipalign.errors import EXIT_DONE
from clipalign.output import configure
from clipalign.output.console import notices, write_output

PANELS: Final = (
    *("Task", "Data", "Scoring", "Training", "Beyond what was published", "Many at once", "Output", "Check", "Model"),
    "",
)
"""Groups of the help, in order."""


def typer_option(setting: Setting) -> Any:
    flag = setting.flag
    return typer.Option(
        f"{flag}/--no-{flag[2:]}" if setting.switch and not setting.plain else flag,
        *setting.short.split(),
        metavar=setting.value or None,
        help=setting.help + (f" [default: {setting.default}]" if setting.default else ""),
        autocompletion=_completing(setting) if setting.choices else None,
        rich_help_panel=setting.panel or None,
    )


def _show_all(ctx: typer.Context, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        write_output(ctx.command.help_page(ctx, everything=True))  # type: ignore[attr-defined]
        raise typer.Exit(EXIT_DONE)


_HELP_ALL: Final = Annotated[
    bool, typer.Option("--help-all", help="Show this page with every option.", is_eager=True, callback=_show_all)
]


def _annotation(setting: Setting) -> Any:
    """Return Typer's type of a setting: text, checked later, as the setting may also come from a file."""
    kind: Any = bool if setting.switch else list[str] if setting.many else str
    if " " in setting.value:
        kind = tuple[str, str]
    return Annotated[kind | None, typer_option(setting)]


def _completing(setting: Setting) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        known = setting.choices() if callable(setting.choices) else setting.choices
        return [name for name in known if name.startswith(incomplete)]

    return complete


def in_order_of_help(kind: type[CommandSettings]) -> dict[str, Setting]:
    return dict(sorted(declared(kind).items(), key=lambda item: PANELS.index(item[1].panel)))


def expand_options(command: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Turn ``function(*arguments, settings)`` into the function Typer calls, with an option for each setting."""

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        signature = inspect.signature(function)
        hints = get_type_hints(function, include_extras=True)
        kind: type[CommandSettings] = hints["settings"]
        own = in_order_of_help(kind)

        @wraps(function)
        def run(**typed: Any) -> int:
            del typed["help_all"]
            flags = {name: typed.pop(name) for name in own}
            return function(**typed, settings=resolve_settings(command, kind, flags))

        arguments = [
            one.replace(annotation=hints[one.name]) for one in signature.parameters.values() if one.name != "settings"
        ]
        # Typer builds a command from the signature of its function: give it one with a parameter for each setting.
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(setting))
            for name, setting in own.items()
        ]
        options.append(
            inspect.Parameter("help_all", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_HELP_ALL)
        )
        run.__signature__ = signature.replace(parameters=[*arguments, *options])  # type: ignore[attr-defined]
        run.settings = kind  # type: ignore[attr-defined]
        return run

    return decorate


def resolve_settings(
    command: str, kind: type[CommandSettings], flags: Mapping[str, object], *, start: Path | None = None
) -> CommandSettings:
    """Resolve the settings of this run as :func:`resolve`; warn of variables and files that set nothing."""
    settings = resolve(kind, flags, command=command, tables=settings_tables, start=start)
    configure(settings)
    for sentence in (*unknown_variables(settings_tables), *foreign_files()):
        notices.warn(sentence)
    return settings
