"""Completion scripts for bash, zsh and fish, written out from the commands themselves.

The scripts hold every command, option and choice, so that the shell answers without starting Python.
``python -m clipalign.completion FOLDER`` writes the three files; with the name of a shell it prints that one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

if TYPE_CHECKING:
    from clipalign.config.settings import Setting

SHELLS: Final = ("bash", "zsh", "fish")
FILES: Final[dict[str, str]] = {"bash": "clipalign.bash", "zsh": "_clipalign", "fish": "clipalign.fish"}
"""Shell to the file name it expects."""

FILE_METAVARS: Final = ("IMAGE", "FILE", "FILE|DIR|-", "FILE|DIR")
FOLDER_METAVARS: Final = ("DIR", "DIR|pictogram[:N]", "A B")


@dataclass(frozen=True, slots=True)
class Flag:
    """An option, as a shell completes it; ``takes`` is ``nothing``, ``choice``, ``file``, ``folder`` or ``text``."""

    names: tuple[str, ...]
    help: str
    takes: str
    choices: tuple[str, ...] = ()
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Branch:
    """A command: its name, its one line, its options, whether it takes files, and the words it takes."""

    name: str
    summary: str
    flags: tuple[Flag, ...]
    files: bool
    words: tuple[str, ...] = ()

    @property
    def typed_flags(self) -> list[str]:
        """Long spellings of its options, and short ones that have no long one."""
        return [name for flag in self.flags for name in flag.names if name.startswith("--") or len(flag.names) == 1]


def completion_script(shell: str) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    root, branches = _tree()
    environment = Environment(
        loader=PackageLoader("clipalign.output"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (_listed, _zsh_text, _zsh_specs, _fish_text, _fish_flag):
        environment.filters[function.__name__.removeprefix("_")] = function
    return environment.get_template(f"completion.{shell}").render(
        root=root,
        branches=branches,
        names=[branch.name for branch in branches],
        cases=_bash_cases(branches),
        files_or_names={_zsh_function(flag): flag.choices for b in branches for flag in b.flags if _mixed(flag)},
    )


def _tree() -> tuple[Branch, list[Branch]]:
    from clipalign.cli import PROGRAM
    from clipalign.commands import COMMANDS
    from clipalign.config.settings import CommandSettings, declared

    ends = (Flag(("-h", "--help"), "Show this page", "nothing"),)
    begins = (Flag(("-V", "--version"), "Print the version", "nothing"),)
    common = tuple(_flag(declared(CommandSettings)[name]) for name in ("quiet", "verbose", "debug"))
    root = Branch(PROGRAM, "", (*begins, *common, *ends), files=False)
    every = Flag(("--help-all",), "Show this page with every option", "nothing")
    return root, [_branch(name, row.summary, (every, *ends)) for name, row in COMMANDS.items()]


def _branch(name: str, summary: str, ends: tuple[Flag, ...]) -> Branch:
    from clipalign.commands import command_function
    from clipalign.commands.options import in_order_of_help

    function = command_function(name)
    parameters = signature(function).parameters.values()
    arguments = [get_args(one.annotation)[1] for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    words = tuple(word for one in arguments if one.autocompletion for word in one.autocompletion(""))
    files = any(one.metavar.rstrip("…") in FILE_METAVARS for one in arguments)
    flags = tuple(_flag(setting) for setting in in_order_of_help(function.settings).values())
    return Branch(name, summary, (*flags, *ends), files=files, words=words)


def _flag(setting: Setting) -> Flag:
    names = [
        *setting.short.split(),
        setting.flag,
        f"--no-{setting.flag[2:]}" if setting.switch and not setting.plain else "",
    ]
    choices = tuple(setting.choices() if callable(setting.choices) else setting.choices)
    takes = "choice" if choices else "text"
    if setting.switch:
        takes = "nothing"
    elif setting.value in FOLDER_METAVARS:
        takes = "folder"
    elif setting.value in FILE_METAVARS or "@" in setting.value:
        takes = "file"
    return Flag(tuple(filter(None, names)), _first_sentence(setting.help), takes, choices, setting.many)


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def _listed(words: Iterable[str]) -> str:
    """Return a bash string of one word a line: completions are split at line ends, so that names may hold spaces."""
    return "$'" + "\\n".join(words) + "'"


Completed = tuple[tuple[str, ...], str]
"""The choices of a value, and ``file``, ``directory`` or nothing."""


def _bash_cases(branches: list[Branch]) -> dict[Completed, list[str]]:
    """Map completions to the patterns of command and option before them; any command if all agree."""
    meanings: dict[str, dict[Completed, list[str]]] = {}
    cases: dict[Completed, list[str]] = {}
    for branch in branches:
        for flag in branch.flags:
            completed = flag.choices, {"file": "file", "folder": "directory"}.get(flag.takes, "")
            for name in flag.names if flag.takes != "nothing" else ():
                meanings.setdefault(name, {}).setdefault(completed, []).append(branch.name)
                cases.setdefault(completed, [])
    for name, found in meanings.items():
        for completed, commands in found.items():
            cases[completed] += [f"*\\ {name}"] if len(found) == 1 else [f"{one}\\ {name}" for one in commands]
    return cases


def _zsh_text(text: str) -> str:
    for sign in ("\\", "[", "]", ":"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("'", "'\\''")


def _zsh_function(flag: Flag) -> str:
    return "_clipalign_value_" + flag.names[-1].lstrip("-").replace("-", "_")


def _mixed(flag: Flag) -> bool:
    """Return whether its value is a name or a file."""
    return flag.takes == "file" and bool(flag.choices)


def _zsh_specs(branch: Branch) -> list[str]:
    """Return the arguments of ``_arguments``: a quoted string an option and one for the arguments."""
    specs = []
    for flag in branch.flags:
        label = _zsh_text(flag.names[-1].lstrip("-"))
        value = {
            "file": f":{label}:{_zsh_function(flag)}" if flag.choices else ":file:_files",
            "folder": ":folder:_files -/",
            "choice": f":{label}:({' '.join(flag.choices)})",
            "text": f":{label}: ",
            "nothing": "",
        }[flag.takes].replace("'", "'\\''")
        excluded = "*" if flag.repeats else f"({' '.join(flag.names)})"
        for name in flag.names:
            equals = "=" if name.startswith("--") and flag.takes != "nothing" else ""
            specs.append(f"'{excluded}{name}{equals}[{_zsh_text(flag.help)}]{value}'")
    specs += ["'*:image:_files'"] if branch.files else []
    return specs + ([f"'*:name:({' '.join(branch.words)})'"] if branch.words else [])


def _fish_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _fish_flag(flag: Flag) -> str:
    names = "".join(f" -l {n.removeprefix('--')}" if n.startswith("--") else f" -s {n[1:]}" for n in flag.names)
    takes = {"folder": " -x -a '(__fish_complete_directories)'", "file": " -r -F", "nothing": ""}.get(flag.takes, " -x")
    choices = f" -a '{' '.join(flag.choices)}'" if flag.choices else ""
    return f"{names}{takes}{choices} -d '{_fish_text(flag.help)}'"


def write_scripts(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for shell in SHELLS:
        (folder / FILES[shell]).write_text(completion_script(shell), encoding="utf-8")


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) == 2 else ""
    if wanted in SHELLS:
        sys.stdout.write(completion_script(wanted))
    elif wanted and Path(wanted).is_dir():
        write_scripts(Path(wanted))
    else:
        sys.exit(f"usage: python -m clipalign.completion {'|'.join(SHELLS)}, or a folder for all of them")
