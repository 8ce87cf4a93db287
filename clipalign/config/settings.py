"""How a setting is declared: one annotated field of a frozen dataclass declares one setting.

    layers: Annotated[int | None, Setting("Text layers averaged, from the last.", whole(1), value="K")] = None

makes the flag ``--layers K``, the variable ``CLIPALIGN_LAYERS``, the key ``layers`` of a settings file, the value's
reader and check, its default, its line in ``--help`` and its completion. The flag wins over the variable, that over the
file, that over the default, and an error names the origin. Objects made by Python programs are checked too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from inspect import get_annotations
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Final, TypeAlias, get_args, get_origin, get_type_hints

from clipalign.config.readers import BadValueError, Reader, name, names, one_of, path, paths, quoted, truth
from clipalign.errors import UsageError

Choices: TypeAlias = tuple[str, ...] | Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Setting:
    """What a setting is, beside its name, its type and its default, which the field has.

    Attributes:
        help: one sentence, with the unit of a quantity.
        read: reads and checks a value; by default one of ``choices``, or by the field's type.
        value: placeholder in the help, choices separated by ``|``, two values by a space.
        default: in words; by default the field's own default.
        choices: what completes the value.
        short: other spellings of the flag, separated by spaces.
        plain: whether a switch has no ``--no-`` form.
        file: whether a settings file may set it. As a file may come with somebody else's data, it must not say where to
            read or write, nor replace, fetch, accept or send anything.
        variable: whether an environment variable may set it.
        variables: other variables that set it.
        beside_file: whether its parts that begin with ``./`` or ``../`` are relative to the settings file.
        panel: heading of its group in the help; by default the ``panel`` of its class.
        needs: the setting without which it does nothing and is refused; the help begins with it.
        many, switch: whether it may be repeated, and whether it takes no value; derived from the field's type.
    """

    help: str
    read: Reader | None = None
    _: KW_ONLY
    value: str = ""
    default: str = ""
    choices: Choices = ()
    short: str = ""
    flag: str = ""
    plain: bool = False
    file: bool = True
    variable: bool = True
    variables: tuple[str, ...] = ()
    beside_file: bool = False
    panel: str = ""
    needs: str = ""
    many: bool = False
    switch: bool = False


Tables: TypeAlias = "Mapping[str, Mapping[str, Setting]]"
"""The settings of each command, by its name."""


@dataclass(frozen=True)
class SameAs:
    """The setting that another class declares under the same name; ``default`` describes the default here."""

    owner: type
    default: str = ""


class Checked:
    """Read and check the given values of a dataclass whose fields are settings; ``UsageError`` names the field."""

    panel: ClassVar[str] = ""

    def __post_init__(self) -> None:
        settings = declared(type(self))
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name in settings and value is not None and value != field.default:
                # A reader may return another type, a Path for a string: the class is frozen, the value is not yet seen.
                object.__setattr__(self, field.name, read_value(settings[field.name], value, origin=field.name))


@dataclass(frozen=True, kw_only=True)
class CommandSettings(Checked):
    """Settings of every command; ``typed`` are the names given as flags."""

    format: Annotated[
        str | None,
        Setting(
            "Output format.",
            short="-f",
            choices=("table", "json"),
            default="table on a terminal, json elsewhere",
            panel="Output",
        ),
    ] = None
    quiet: Annotated[bool, Setting("Print errors only to stderr.", short="-q", plain=True)] = False
    verbose: Annotated[
        bool, Setting("Print details and warnings of other libraries to stderr.", short="-v", plain=True)
    ] = False
    debug: Annotated[bool, Setting("Print a traceback with errors.", plain=True)] = False
    typed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, setting in declared(type(self)).items():
            if setting.needs and not getattr(self, setting.needs):
                needed = flag_name(setting.needs)
                refuse(self, [key], f"{{}} needs {needed}", hint=f"add {needed}")

    def refuse_together(self, *names: str, hint: str = "give one of them") -> None:
        """Raise ``UsageError`` if more than one of the settings ``names`` is given, wherever that was."""
        given = [declared(type(self))[key].flag for key in names if getattr(self, key)]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other", hint=hint, input=given[0])


def refuse(settings: CommandSettings, names: Iterable[str], message: str, *, hint: str) -> None:
    """Raise ``UsageError`` for the first of ``names`` that was typed; ``{}`` in ``message`` stands for its flag."""
    for key in names:
        if key in settings.typed:
            flag = declared(type(settings))[key].flag
            raise UsageError(message.replace("{}", flag), hint=hint, input=flag)


_READERS: Final[dict[Any, Reader]] = {
    bool: truth,
    str: name,
    Path: path,
    tuple[str, ...]: names,
    tuple[Path, ...]: paths,
}


def declared(kind: type) -> Mapping[str, Setting]:
    """Return the settings of ``kind`` by field, its own first, completed from types and defaults."""
    # functools.cache would say the same, but type checkers take a class that is an argument for unhashable.
    if kind not in _DECLARED:
        _DECLARED[kind] = _declared(kind)
    return _DECLARED[kind]


_DECLARED: Final[dict[type, Mapping[str, Setting]]] = {}


def _declared(kind: type) -> Mapping[str, Setting]:
    hints = get_type_hints(kind, include_extras=True)
    defaults = {field.name: field.default for field in fields(kind)}
    found: dict[str, Setting | None] = {}
    # Class by class, since a setting takes its panel from the class that declares it; the most derived one wins.
    for owner in kind.__mro__:
        for key in get_annotations(owner):
            if key in found:
                continue
            value_type, *metadata = get_args(hints[key]) or (None,)
            found[key] = next((one for one in metadata if isinstance(one, Setting)), None)
            if metadata and isinstance(metadata[0], SameAs):
                same = declared(metadata[0].owner)[key]
                found[key] = replace(same, default=metadata[0].default or same.default)
            elif setting := found[key]:
                panel = setting.panel or vars(owner).get("panel", "")
                found[key] = _completed(replace(setting, panel=panel), key, value_type, defaults[key])
    return {key: setting for key, setting in found.items() if setting is not None}


def _completed(setting: Setting, key: str, value_type: Any, default: object) -> Setting:
    if isinstance(value_type, UnionType):
        value_type = next(one for one in get_args(value_type) if one is not NoneType)
    choices = setting.choices if isinstance(setting.choices, tuple) else ()
    return replace(
        setting,
        help=f"With {flag_name(setting.needs)}: {setting.help}" if setting.needs else setting.help,
        read=setting.read or (one_of(*choices) if choices else _READERS[value_type]),
        value=setting.value or "|".join(choices),
        default=setting.default or ("" if setting.plain else _shown(default)),
        flag=setting.flag or flag_name(key),
        many=get_origin(value_type) is tuple and get_args(value_type)[-1] is ...,
        switch=value_type is bool,
    )


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, int | float):
        return f"{default:g}".replace("e-0", "e-")
    if isinstance(default, str):
        return f'"{default}"' if " " in default else default
    return ""


def flag_name(setting: str) -> str:
    """Return ``--batch-size`` for ``batch_size``."""
    return "--" + setting.replace("_", "-")


def read_value(setting: Setting, value: object, *, origin: str, error: type[UsageError] = UsageError) -> Any:
    """Read ``value`` in the setting's type; raise ``error``, which names ``origin``, if it is invalid."""
    assert setting.read is not None
    try:
        return setting.read(value)
    except BadValueError as bad:
        message = f"{origin} must be {bad.expected}, not {quoted(value)}"
        raise error(message, hint=bad.hint, input=origin) from None
