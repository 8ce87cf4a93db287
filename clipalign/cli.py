"""The command line: finds the command, keeps ``--help`` and mistakes light, and reports every failure in a sentence.

Errors and exit statuses are handled here only. A command of :data:`clipalign.commands.COMMANDS` is imported when named
and loads its heavy libraries when it runs. Only public names of Typer are used; the parser inside it is private.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from clipalign.commands import COMMANDS, command_function
from clipalign.commands.options import typer_option
from clipalign.config.readers import truth
from clipalign.config.settings import CommandSettings, declared
from clipalign.config.suggest import suggestion, translation
from clipalign.errors import EXIT_DONE, EXIT_INTERRUPTED, NO_RIGHTS, ClipalignError, Interrupted, UsageError
from clipalign.help import page
from clipalign.output.console import (
    Notices,
    abridged,
    listen,
    notices,
    readable,
    styled,
    visible,
    visible_json,
    write_output,
    write_stderr,
)
from clipalign.version import __version__

PROGRAM = "clipalign"

CLOSING = (
    "Every option of a command but --reference, --label, --describe-with, --update-baseline, --dry-run and the tasks "
    "of download can also be set by a variable (CLIPALIGN_MODEL, CLIPALIGN_BATCH_SIZE, …) or in [tool.clipalign] of "
    "the nearest pyproject.toml or clipalign.toml. Exit status: 0 done, 1 --check found something, 2 wrong usage, "
    "3 unreadable input, 4 missing model or data, 70 internal error, 130 interrupted."
)


_HELP = ("quiet", "help", "help_all")
MOST_EXAMPLES = 5
"""Options and examples of ``--help``."""


class InternalError(ClipalignError):
    """An unexpected exception: a defect of ours or of a library."""


def _show_page(ctx: Any, _parameter: Any, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        write_output(ctx.command.help_page(ctx))
        raise typer.Exit(EXIT_DONE)


class _OwnHelp:
    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.callback = _show_page
            option.help = "Show this page."
            option.default = False  # as for the flags of root
        return option


class Command(_OwnHelp, TyperCommand):
    def help_page(self, ctx: Any, *, everything: bool = False) -> str:
        """Return the page of the options that people need, or of every one."""
        arguments = [p.metavar or p.name.upper() for p in self.params if p.param_type_name == "argument"]
        usage = " ".join([ctx.command_path, "[OPTIONS]", *arguments])
        shown, parameters = COMMANDS[str(self.name)].shown.split(), self.get_params(ctx)
        if everything or not shown:
            return page(usage=usage, text=self.help or "", parameters=parameters, closing=CLOSING)
        some = [p for p in parameters if p.param_type_name == "argument" or p.name in (*shown, *_HELP)]
        more = len(parameters) - len(some)
        closing = f"{more} more options, settings files, exit statuses: {ctx.command_path} --help-all"
        return page(usage=usage, text=self.help or "", parameters=some, closing=closing, examples=MOST_EXAMPLES)


class App(_OwnHelp, TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS:
            return built_command(cmd_name)
        if ctx.resilient_parsing or cmd_name.startswith("-"):
            return None
        raise UsageError(
            f"there is no command {cmd_name!r}",
            hint=suggestion(cmd_name, COMMANDS) or f"one of {', '.join(COMMANDS)}; see {PROGRAM} --help",
            input=cmd_name,
        )

    def help_page(self, ctx: Any) -> str:
        return page(
            usage=f"{PROGRAM} COMMAND [OPTIONS] …",
            text=self.help or "",
            parameters=self.get_params(ctx),
            commands=[(name, row.summary) for name, row in COMMANDS.items()],
            closing=CLOSING,
        )


def built_command(name: str) -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, cls=Command)(command_function(name))
    return get_command(alone)


app = typer.Typer(
    name=PROGRAM,
    cls=App,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        write_output(f"{PROGRAM} {__version__}\n")
        raise typer.Exit(EXIT_DONE)


_QUIET, _VERBOSE, _DEBUG = (typer_option(declared(CommandSettings)[name]) for name in ("quiet", "verbose", "debug"))


@app.callback(invoke_without_command=True)
def root(
    # Flags alone, each with a value: for anything else Typer imports pydantic, which doubles what --help costs.
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    quiet: Annotated[bool | None, _QUIET] = False,
    verbose: Annotated[bool | None, _VERBOSE] = False,
    debug: Annotated[bool | None, _DEBUG] = False,
) -> None:
    """Tell whether a text fits an image, and which words do not.

    Examples:
      clipalign detect photo.jpg "a cup of coke"
      clipalign detect scene.png "a red car left of a tree" --model pictogram
      clipalign eval --dataset pictogram-foil --model pictogram --limit 200
    """
    notices.quiet, notices.verbose = notices.quiet or bool(quiet), notices.verbose or bool(verbose)
    notices.debug = notices.debug or bool(debug)
    if ctx.invoked_subcommand is None:
        write_output(ctx.command.help_page(ctx))  # type: ignore[attr-defined]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; never raises, prints a traceback only with ``--debug``."""
    typed = _with_inputs_named(list(sys.argv[1:] if arguments is None else arguments))
    _start(typed)
    try:
        status = _run(typed)
        if status == EXIT_INTERRUPTED:  # the parser turns Ctrl-C into a status
            raise Interrupted("interrupted", hint=notices.kept)
    except KeyboardInterrupt:
        return _fail(Interrupted("interrupted", hint=notices.kept), typed)
    except Exception as error:
        return _fail(error, typed)
    notices.release()
    return status


def _with_inputs_named(words: list[str]) -> list[str]:
    """Expand ``--input a.tar b.tar``, as from a shell's ``*.tar``, to ``--input a.tar --input b.tar``."""
    found: list[str] = []
    for place, word in enumerate(words):
        if word == "--":
            return found + words[place:]
        follows = len(found) > 1 and found[-2] in ("--input", "-i")
        found += ["--input", word] if follows and (word == "-" or not word.startswith("-")) else [word]
    return found


def _start(typed: Sequence[str]) -> None:
    """Reset the notices; whether JSON or tracebacks are wanted must be known before parsing."""
    debug = "--debug" in _before_dashes(typed) or _debug_variable()
    fresh = Notices(debug=debug, json=_asked_format(typed) == "json")
    for field in fields(Notices):  # in place: other modules hold this very object
        setattr(notices, field.name, getattr(fresh, field.name))
    listen()


def _debug_variable() -> bool:
    """Read ``CLIPALIGN_DEBUG``; an invalid value is reported by the command, without a traceback."""
    value = os.environ.get("CLIPALIGN_DEBUG")
    try:
        return bool(value) and truth(value)
    except Exception:
        return False


def _before_dashes(typed: Sequence[str]) -> list[str]:
    return list(typed[: typed.index("--")]) if "--" in typed else list(typed)


def _asked_format(typed: Sequence[str]) -> str | None:
    """Return the format as far as known before parsing; settings files are not read."""
    return _value_of("--format", typed) or _value_of("-f", typed) or os.environ.get("CLIPALIGN_FORMAT")


def _value_of(option: str, typed: Sequence[str]) -> str | None:
    words = _before_dashes(typed)
    values = [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
    values += [after for word, after in pairwise(words) if word == option]
    return values[-1] if values else None


def _run(typed: list[str]) -> int:
    try:
        result = get_command(app).main(args=typed, prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort as error:
        raise error.__cause__ or error from None
    except SystemExit as error:
        # Typer and libraries that end the process take the status out of our hands; only success is left to them.
        if error.code in (None, 0):
            return EXIT_DONE
        raise InternalError(f"a library ended the run with status {error.code!r}") from error
    return result if isinstance(result, int) else EXIT_DONE


def _fail(error: Exception, typed: Sequence[str]) -> int:
    if notices.debug:
        for line in traceback.format_exception(error):
            write_stderr(line.rstrip("\n"))
    known = as_clipalign_error(error, typed)
    if "clipalign download" in known.hint:
        from clipalign.download.catalog import with_flags  # only here: it costs --help a little

        known.hint = with_flags(known.hint, _value_of("--cache-dir", typed) or "")
    notices.waiting.clear() if notices.json else notices.release()
    for line in error_lines(known, json=notices.json):
        write_stderr(line)
    if _asked_format(typed) == "github":
        from clipalign.output.github import failure

        write_stderr(failure(readable(known.message), readable(known.hint)))
    return known.exit_status


def as_clipalign_error(error: Exception, typed: Sequence[str] = ()) -> ClipalignError:
    """Convert any exception: the parser's are reworded, unknown ones become internal errors."""
    if isinstance(error, ClipalignError):
        return error
    if isinstance(error, typer.TyperException):
        return _usage_error(error, typed)
    if isinstance(error, OSError) and error.errno in NO_RIGHTS | {errno.ENAMETOOLONG} and error.filename:
        place, hint = str(error.filename), "give a shorter name"
        if error.errno in NO_RIGHTS:  # a cache of another user, say
            hint = "check its rights, or name another folder; that of the cache is named by --cache-dir"
        return UsageError(f"{place} may not be used: {error.strerror}", hint=hint, input=place)
    from clipalign.device import is_out_of_memory  # only here: it costs --help a little

    if is_out_of_memory(error):
        return InternalError("memory ran out", hint="a smaller --batch-size, a smaller model, or fewer other programs")
    said = " ".join(str(error).split())
    return InternalError(
        f"unexpected {type(error).__name__}{f': {said}' if said else ''}",
        hint="this is a defect; --debug shows where it happened",
    )


def error_lines(error: ClipalignError, *, json: bool) -> list[str]:
    """Return one JSON object, or one line and perhaps a second with what to try."""
    if json:
        from clipalign.output.json import encode

        said = error.as_dict()["error"] | {"message": readable(error.message), "hint": readable(error.hint) or None}
        said["input"] = abridged(error.input) or None
        return [visible_json(encode({"error": said}).decode("utf-8").rstrip("\n"))]
    message, place = visible(error.message), visible(error.input)
    if place not in message:
        message += f" ({place})"
    lines = [styled("error:", "red", stream=sys.stderr) + " " + readable(message)]
    if error.hint:
        lines.append(styled("hint:", "cyan", stream=sys.stderr) + " " + readable(error.hint))
    return lines


def _usage_error(error: typer.TyperException, typed: Sequence[str]) -> UsageError:
    """Reword the parser's error, recognized by its attributes as its types are not public."""
    ctx: Any = getattr(error, "ctx", None)
    see = f"see {_command_path(ctx, typed)} --help"
    option = getattr(error, "option_name", None)
    parameter: Any = getattr(error, "param", None)
    if option is not None and hasattr(error, "possibilities"):
        return _unknown_option(str(option), ctx, typed)
    if option is not None:
        takes_nothing = "not take a value" in error.format_message()
        return UsageError(f"{option} {'takes no value' if takes_nothing else 'needs a value'}", hint=see, input=option)
    if parameter is not None and hasattr(error, "param_type"):
        missing = _missing_names(ctx, parameter)
        return UsageError(f"missing {' and '.join(missing)}", hint=_usage_line(ctx), input=missing[0])
    said = " ".join(error.format_message().split())
    if "unexpected extra argument" in said:
        extra = said.rpartition(" (")[2].rstrip(")")
        hint = "put quotes around a text of several words; or did an option take the word behind it as its value?"
        return UsageError(f"unexpected {extra!r}", hint=hint, input=extra)
    return UsageError(said[:1].lower() + said[1:].rstrip("."), hint=see)


def _command_path(ctx: Any, typed: Sequence[str]) -> str:
    if ctx is not None:
        return str(ctx.command_path)
    return " ".join([PROGRAM, *[word for word in typed if word in COMMANDS][:1]])


def _unknown_option(option: str, ctx: Any, typed: Sequence[str]) -> UsageError:
    # "-5 degrees" reaches the parser as a bundle of short options; show what was typed.
    whole = next((word for word in typed if word.startswith(option)), option)
    command = _command_path(ctx, typed)
    known = [name for p in ctx.command.params for name in [*p.opts, *p.secondary_opts]] if ctx is not None else []
    if " " in whole or not option.startswith("--"):
        hint = f"see {command} --help; to give a text that begins with '-', put -- before the arguments"
    elif command == PROGRAM:
        hint = suggestion(option, known) or f"see {PROGRAM} --help; a command's options follow its name"
    else:
        hint = _argument_hint(option, ctx) or translation(option, known) or suggestion(option, [*known, "--help"])
        hint = hint or f"see {command} --help-all"
    return UsageError(f"there is no option {whole if ' ' in whole else option}", hint=hint, input=option)


_ARGUMENTS = {"--image": "IMAGE", "--img": "IMAGE", "--text": "TEXT", "--caption": "TEXT", "--prompt": "TEXT"}


def _argument_hint(option: str, ctx: Any) -> str:
    """Return a hint where other tools have an option for what is an argument here."""
    params = ctx.command.params if ctx is not None else []
    names = [p.metavar for p in params if p.param_type_name == "argument"]
    named = any(name.rstrip("…") == _ARGUMENTS.get(option) for name in names)
    return f"it is an argument: {' '.join([ctx.command_path, *names])}" if named else ""


def _missing_names(ctx: Any, parameter: Any) -> list[str]:
    """Return the first missing argument, as the parser reports it, and those after it, which must be missing too."""
    if parameter.param_type_name != "argument" or ctx is None:
        return [parameter.opts[0]]
    arguments = [p for p in ctx.command.params if p.param_type_name == "argument" and p.required]
    return [p.metavar or p.name.upper() for p in arguments[arguments.index(parameter) :]]


def _usage_line(ctx: Any) -> str:
    if ctx is None:
        return f"see {PROGRAM} --help"
    names = [p.metavar or p.name.upper() for p in ctx.command.params if p.param_type_name == "argument" and p.required]
    return f"{' '.join([ctx.command_path, *names])}; see {ctx.command_path} --help"
