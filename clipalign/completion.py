"""Completion scripts for bash, zsh and fish, written out from the commands themselves.

The scripts hold every command, option and choice, model names included, so that the shell answers without starting
Python. ``python -m clipalign.completion FOLDER`` writes the three files, with the name of a shell it prints that one.
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
"""The name each shell looks a script up by."""

FILE_METAVARS: Final = ("IMAGE", "FILE", "FILE|DIR|-", "FILE|DIR")
FOLDER_METAVARS: Final = ("DIR", "DIR|pictogram[:N]", "A B")

HEADER: Final = "# Completion of clipalign for {shell}; written by python -m clipalign.completion, not by hand."


@dataclass(frozen=True, slots=True)
class Flag:
    """An option as a shell needs to know it.

    Attributes:
        names: all its spellings, short ones first.
        help: one line.
        takes: ``nothing``, ``choice``, ``file``, ``folder`` or ``text``.
        choices: what completes its value; files do too where ``takes`` is ``file``.
        repeats: whether it may be given more than once.
    """

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


def completion_script(shell: str) -> str:
    """The script for one of :data:`SHELLS`."""
    root, branches = _tree()
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](root, branches)


def _tree() -> tuple[Branch, list[Branch]]:
    from clipalign.cli import PROGRAM
    from clipalign.commands import COMMANDS
    from clipalign.config.settings import CommandSettings, declared

    ends = (Flag(("-h", "--help"), "Show this page", "nothing"),)
    begins = (Flag(("-V", "--version"), "Print the version", "nothing"),)
    common = tuple(_flag(declared(CommandSettings)[name]) for name in ("quiet", "verbose", "debug"))
    root = Branch(PROGRAM, "", (*begins, *common, *ends), files=False)
    return root, [_branch(name, row.summary, ends) for name, row in COMMANDS.items()]


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
    names = [setting.short, setting.flag, f"--no-{setting.flag[2:]}" if setting.switch and not setting.plain else ""]
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


def _words(flags: tuple[Flag, ...]) -> list[str]:
    return [name for flag in flags for name in flag.names if name.startswith("--") or len(flag.names) == 1]


def _listed(words: Iterable[str]) -> str:
    """A bash string of one word a line: completions are split at line ends only, so that file names may hold spaces."""
    return "$'" + "\\n".join(words) + "'"


def _bash(root: Branch, branches: list[Branch]) -> str:
    cases = _bash_cases([flag for branch in (root, *branches) for flag in branch.flags], branches)
    lines = [
        HEADER.format(shell="bash"),
        "",
        "_clipalign() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= place IFS=$'\\n'",
        "    # bash splits --option=value at the sign",
        "    [[ $current == = ]] && current=",
        "    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD-2]}",
        "    COMPREPLY=()",
        "    for ((place = 1; place < COMP_CWORD; place++)); do",
        "        case ${COMP_WORDS[place]} in",
        f"            {'|'.join(b.name for b in branches)}) command=${{COMP_WORDS[place]}}; break ;;",
        "        esac",
        "    done",
        '    case "$command $before" in',
    ]
    for (choices, files), names in cases.items():
        lines.append(f"        {'|'.join(names)})")
        if choices:
            lines.append(f"""            COMPREPLY=($(compgen -W {_listed(choices)} -- "$current"))""")
        if files:
            lines += [
                "            compopt -o filenames 2>/dev/null",
                f"""            COMPREPLY+=($(compgen -A {files} -- "$current"))""",
            ]
        lines.append("            return ;;")
    lines += ["    esac", "    case $command in"]
    for branch in (*branches, root):
        lines.append(f"        {branch.name if branch is not root else '*'})")
        if branch is root:
            every = _listed([*(b.name for b in branches), *_words(branch.flags)])
            lines.append(f"""            COMPREPLY=($(compgen -W {every} -- "$current")) ;;""")
            continue
        lines.append("            if [[ $current == -* ]]; then")
        lines.append(f"""                COMPREPLY=($(compgen -W {_listed(_words(branch.flags))} -- "$current"))""")
        if branch.words:
            words = _listed(branch.words)
            lines += ["            else", f"""                COMPREPLY=($(compgen -W {words} -- "$current"))"""]
        if branch.files:
            lines += [
                "            else",
                "                compopt -o filenames 2>/dev/null",
                """                COMPREPLY=($(compgen -A file -- "$current"))""",
            ]
        lines.append("            fi ;;")
    return "\n".join([*lines, "    esac", "}", "", "complete -F _clipalign clipalign", ""])


def _bash_cases(flags: list[Flag], branches: list[Branch]) -> dict[tuple[tuple[str, ...], str], list[str]]:
    """What follows an option, to the patterns of command and option it follows; any command where all agree."""

    def follows(flag: Flag) -> tuple[tuple[str, ...], str]:
        return flag.choices, {"file": "file", "folder": "directory"}.get(flag.takes, "")

    meanings: dict[str, set[tuple[tuple[str, ...], str]]] = {}
    for flag in flags:
        if flag.takes != "nothing":
            for name in flag.names:
                meanings.setdefault(name, set()).add(follows(flag))
    cases: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for branch in branches:
        for flag in branch.flags:
            for name in flag.names if flag.takes != "nothing" else ():
                pattern = f"*\\ {name}" if len(meanings[name]) == 1 else f"{branch.name}\\ {name}"
                patterns = cases.setdefault(follows(flag), [])
                patterns += [pattern] if pattern not in patterns else []
    return cases


def _zsh(root: Branch, branches: list[Branch]) -> str:
    lines = ["#compdef clipalign", HEADER.format(shell="zsh"), ""]
    mixed = {_zsh_function(flag): flag for b in branches for flag in b.flags if flag.takes == "file" and flag.choices}
    for function, flag in mixed.items():
        names = " ".join(flag.choices)
        lines += [f"{function}() {{", f"    _alternative 'names:name:({names})' 'files:file:_files'", "}", ""]
    for branch in branches:
        rest = ["'*:image:_files'"] if branch.files else []
        rest += [f"'*:name:({' '.join(branch.words)})'"] if branch.words else []
        lines += [f"_clipalign_{branch.name.replace('-', '_')}() {{", "    _arguments -s \\"]
        lines += _continued([*_zsh_flags(branch.flags), *rest])
        lines += ["}", ""]
    summaries = [f"'{branch.name}:{_zsh_text(branch.summary)}'" for branch in branches]
    lines += [
        "_clipalign() {",
        "    local context state state_descr line",
        "    typeset -A opt_args",
        "    _arguments -s -C \\",
        *_continued([*_zsh_flags(root.flags), "'1: :->command'", "'*:: :->rest'"]),
        "    case $state in",
        "        command)",
        "            local -a commands=(",
        *(f"                {summary}" for summary in summaries),
        "            )",
        "            _describe command commands ;;",
        "        rest)",
        "            case $words[1] in",
        *(f"                {b.name}) _clipalign_{b.name.replace('-', '_')} ;;" for b in branches),
        "            esac ;;",
        "    esac",
        "}",
        "",
        "# autoloaded from fpath the file is the function; sourced it has to be registered",
        "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then",
        '    _clipalign "$@"',
        "else",
        "    compdef _clipalign clipalign",
        "fi",
        "",
    ]
    return "\n".join(lines)


def _continued(specs: list[str]) -> list[str]:
    return [f"        {spec}{'' if place == len(specs) - 1 else ' ' + chr(92)}" for place, spec in enumerate(specs)]


def _zsh_text(text: str) -> str:
    for sign in ("\\", "[", "]", ":"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("'", "'\\''")


def _zsh_function(flag: Flag) -> str:
    """Name of the function that offers an option's names and files."""
    return "_clipalign_value_" + flag.names[-1].lstrip("-").replace("-", "_")


def _zsh_flags(flags: tuple[Flag, ...]) -> list[str]:
    specs = []
    for flag in flags:
        value = ""
        label = _zsh_text(flag.names[-1].lstrip("-"))
        if flag.takes == "file":
            value = f":{label}:{_zsh_function(flag)}" if flag.choices else ":file:_files"
        elif flag.takes == "folder":
            value = ":folder:_files -/"
        elif flag.takes == "choice":
            value = f":{label}:({' '.join(flag.choices)})"
        elif flag.takes == "text":
            value = f":{label}: "
        excluded = "*" if flag.repeats else f"({' '.join(flag.names)})"
        for name in flag.names:
            equals = "=" if name.startswith("--") and flag.takes != "nothing" else ""
            value_quoted = value.replace("'", "'\\''")
            specs.append(f"'{excluded}{name}{equals}[{_zsh_text(flag.help)}]{value_quoted}'")
    return specs


def _fish(root: Branch, branches: list[Branch]) -> str:
    names = " ".join(branch.name for branch in branches)
    lines = [HEADER.format(shell="fish"), "", "complete -c clipalign -f"]
    alone = f"not __fish_seen_subcommand_from {names}"
    lines += [
        f"complete -c clipalign -n '{alone}' -a {branch.name} -d '{_fish_text(branch.summary)}'" for branch in branches
    ]
    lines += [_fish_flag(flag, alone) for flag in root.flags]
    for branch in branches:
        inside = f"__fish_seen_subcommand_from {branch.name}"
        if branch.files:
            lines.append(f"complete -c clipalign -n '{inside}' -F")
        if branch.words:
            lines.append(f"complete -c clipalign -n '{inside}' -a '{' '.join(branch.words)}'")
        lines += [_fish_flag(flag, inside) for flag in branch.flags]
    return "\n".join([*lines, ""])


def _fish_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _fish_flag(flag: Flag, condition: str) -> str:
    names = "".join(f" -l {n.removeprefix('--')}" if n.startswith("--") else f" -s {n[1:]}" for n in flag.names)
    takes = ""
    if flag.takes == "folder":
        takes = " -x -a '(__fish_complete_directories)'"
    elif flag.takes == "file":
        takes = " -r -F"
    elif flag.takes != "nothing":
        takes = " -x"
    choices = f" -a '{' '.join(flag.choices)}'" if flag.choices else ""
    return f"complete -c clipalign -n '{condition}'{names}{takes}{choices} -d '{_fish_text(flag.help)}'"


def write_scripts(folder: Path) -> None:
    """Write the three files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for shell in SHELLS:
        (folder / FILES[shell]).write_text(completion_script(shell), encoding="utf-8")


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else "completions"
    if wanted in SHELLS:
        sys.stdout.write(completion_script(wanted))
    else:
        write_scripts(Path(wanted))
