"""How an option is made, and how a group of them becomes the signature that Typer reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, get_args, get_type_hints

import typer

MODEL_PANEL: Final = "Model"
SCORING_PANEL: Final = "Scoring"
MANY_PANEL: Final = "Many at once"
DATA_PANEL: Final = "Data"
TRAINING_PANEL: Final = "Training"
OUTPUT_PANEL: Final = "Output"
TASK_PANEL: Final = "Task"

Function = TypeVar("Function", bound=Callable[..., Any])


def option(
    *names: str,
    help: str,
    value: str | None = None,
    default: str = "",
    panel: str | None = None,
    choices: Iterable[str] | Callable[[], Iterable[str]] = (),
) -> Any:
    """What stands behind the type in ``Annotated``.

    Args:
        names: its spellings, ``--name/--no-name`` for a switch.
        help: sentences; the unit of a quantity is among them.
        value: what stands for its value, choices parted by ``|``; None for a switch.
        default: what holds where it is not given, in words; empty where nothing does.
        panel: the heading it stands under.
        choices: what completes its value; files complete by the shell itself.
    """
    return typer.Option(
        *names,
        metavar=value,
        help=f"{help} [default: {default}]" if default else help,
        autocompletion=_beginning_with(choices) if choices else None,
        rich_help_panel=panel,
    )


def _beginning_with(choices: Iterable[str] | Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        known = choices() if callable(choices) else choices
        return [name for name in known if name.startswith(incomplete)]

    return complete


def one_by_one(command: Function) -> Function:
    """``command`` with the keys of its last parameter, ``**typed: Unpack[Group]``, one by one in its signature.

    That is the signature Typer reads; type checkers read the annotation.
    """
    signature = inspect.signature(command)
    *own, gathered = signature.parameters.values()
    hints = get_type_hints(command, include_extras=True)
    (group,) = get_args(hints[gathered.name])
    keys = get_type_hints(group, include_extras=True)
    options = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=keys[n]) for n in keys]
    named = [one.replace(annotation=hints[one.name]) for one in own]
    command.__signature__ = signature.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
    return command
