"""Where a setting comes from: the flag, then ``CLIPALIGN_*``, then a settings file, then the default.

The file is ``clipalign.toml``, or ``[tool.clipalign]`` of ``pyproject.toml``, whichever is nearest upward from the
working directory; a table named after a command (``[tool.clipalign.detect]``) holds for that command alone. Every value
is checked here, once, wherever it came from, and an error names its origin. Loads no model code and reads no weights.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from clipalign.commands import COMMANDS
from clipalign.errors import SettingsError, UsageError
from clipalign.registry import DEFAULT_MODEL
from clipalign.registry.rows import LONG_MODEL

FORMATS: Final = ("table", "json", "jsonl", "csv", "html", "github")
FORMATS_OF: Final[dict[str, tuple[str, ...]]] = {
    "eval": ("table", "json"),
    "download": ("table", "json"),
    "train-specs": ("table", "json"),
}
"""Commands that have fewer of them."""

MODELS_OF: Final = {"score-long": LONG_MODEL}
"""Commands whose default model is another."""

METHODS: Final = ("wca", "clip", "clip-e", "clip-d", "waffle", "cupl")
DESCRIBED_DATASETS: Final = ("cub", "dtd", "food101", "imagenet", "oxford_pet", "place365")
"""Data sets whose classes have published descriptions."""

ERROR_RULES: Final = ("skip", "fail")
PROTOCOLS: Final = ("paper", "exif")
REPORTS: Final = ("html",)
SWEPT: Final = ("model", "layers", "epsilon", "mode", "alignment", "template")
"""What ``--sweep`` goes through."""
PIECES: Final = ("sentence", "phrase")
TOWERS: Final = ("image", "text")
MODES: Final = ("threshold", "most-negative")
ALIGNMENTS: Final = ("published", "characters")
PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16")
DEVICES: Final = ("auto", "cpu", "cuda", "mps")
MAX_SEED: Final = 2**63 - 1
"""The largest seed every random generator in use takes."""

ENVIRONMENT_PREFIX: Final = "CLIPALIGN_"
OTHER_VARIABLES: Final[dict[str, tuple[str, ...]]] = {
    "cache_dir": ("CLIPALIGN_CACHE",),
    "offline": ("HF_HUB_OFFLINE",),
}
"""Variables that set something besides the one named after it."""

MEANT: Final = 2
MEANT_CUTOFF: Final = 0.7
"""How many guesses a hint makes, and how alike they must be: swapped letters pass, ``gpu`` for ``cpu`` does not."""

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of a run, resolved and checked; None where the command or the model decides.

    Attributes:
        model: specification of the model.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; whether it is there is found out later.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        batch_size: images, and texts, a batch, at least 1; None for ``auto``.
        threads: CPU threads, at least 1.
        seed: 0 to 2^63 - 1.
        cache_dir: where weights are kept.
        offline: whether the network is forbidden.
        format: ``table`` or ``json``; None for the one that suits stdout.
        quiet: no warnings.
        verbose: reasons too.
        debug: tracebacks.
        mode: ``threshold`` or ``most-negative``.
        epsilon: threshold on a word's attribution, finite.
        layers: text layers averaged, at least 1.
        template: put before every caption.
        alignment: ``published`` or ``characters``.
        check: whether a finding sets the exit status.
        top: rows of a table, at least 1.
        dataset: name of a benchmark; whether there is one is found out later.
        limit: samples of a benchmark, at least 1; None for all.
        output: folder for the records of a benchmark; file for the records of many pairs.
        input: files, folders or ``-`` to read many records from.
        image_root: folder that relative image names of the input are looked for in.
        shard: which contiguous part of the input is done, and of how many; both from 1 on.
        resume: go on where an earlier run into the same output ended.
        overwrite: replace an output that exists.
        on_error: ``skip`` a record that cannot be read, or ``fail``; None for skip with many records, fail with one.
        download: fetch what is missing; None to fetch where a person is looking.
        accept_license: names whose licence the user accepts.
        labels: file with a class name a line.
        descriptions: JSON file of descriptions by class.
        method: of ``classify``.
        crops: random crops of a picture, at least 1.
        alpha: smallest side of a crop as a share of the picture's shorter side, 0 to 0.9.
        explain: whether a classification comes with crops, sentences and contributions.
        image_logscale: logarithm of the scale of the crops' weights.
        text_logscale: logarithm of the scale of the descriptions' weights.
        prompt: a class's name in a sentence, ``{}`` for the name.
        templates: file with a prompt template a line.
        words: file with a word a line.
        text_file: files with a long text each; ``-`` for standard input.
        by: ``sentence`` or ``phrase``.
        margin: how much a sentence may lower the score before it is found, at least 0.
        stretch: whether a model of a short context is stretched to read long texts; None for what suits the command.
        data_root: folder of a data set, or of several by name; None for where ``download`` puts them.
        protocol: ``paper``: pictures of data sets as they lie in the file, or ``exif``: turned the way EXIF says.
        compare: two results of ``eval``, or the folders of their runs.
        report: ``html``: a page about a benchmark's run, in its folder.
        sweep: settings with the values to go through, each as ``NAME=VALUE,VALUE``.
        calibrate: whether a benchmark is used to find the layers and the epsilon that suit a model.
        save: settings file that what was found is put into.
        data: training samples: a prepared folder, ``pictogram`` or ``pictogram:N``.
        prepare: raw captions to prepare training samples from.
        init: the model that training starts from.
        epochs: over the training samples, at least 1.
        accumulate: batches a training step, at least 1.
        draws: beginnings of a caption that a training step reads, at least 1.
        learning_rate: at its height.
        warmup_steps: steps in which it rises, at least 0.
        weight_decay: of training, at least 0.
        clip_norm: what the norm of gradients is cut to, above 0.
        lambda_contrastive: weight of telling captions of a batch apart, at least 0.
        lambda_detail: weight of true details, at least 0.
        lambda_negative: weight of wrong details, at least 0.
        lambda_short: weight of telling short captions and pictures apart, at least 0.
        gather: whether captions are told apart over all processes.
        freeze: towers that do not learn, ``image`` or ``text``.
        blend: share of the trained weights in those that are kept, from 0.01 to 1; the rest are the start's.
        recompute: whether training saves memory by computing inner states twice.
        held_out: samples for validation, at least 0.
        validate_every: training steps between validations, at least 1; None for once an epoch.
        save_every: training steps between checkpoints, at least 1.
        workers: processes that prepare, or threads that decode, at least 1.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    threads: int | None = None
    seed: int = 0
    cache_dir: Path | None = None
    offline: bool = False
    format: str | None = None
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    mode: str | None = None
    epsilon: float | None = None
    layers: int | None = None
    template: str | None = None
    alignment: str | None = None
    check: bool = False
    top: int | None = None
    dataset: str | None = None
    limit: int | None = None
    output: Path | None = None
    input: tuple[str, ...] = ()
    image_root: Path | None = None
    shard: tuple[int, int] | None = None
    resume: bool = False
    overwrite: bool = False
    on_error: str | None = None
    download: bool | None = None
    accept_license: tuple[str, ...] = ()
    labels: Path | None = None
    descriptions: Path | None = None
    method: str | None = None
    crops: int | None = None
    alpha: float | None = None
    explain: bool = False
    image_logscale: float | None = None
    text_logscale: float | None = None
    prompt: str | None = None
    templates: Path | None = None
    words: Path | None = None
    text_file: tuple[str, ...] = ()
    by: str | None = None
    margin: float | None = None
    stretch: bool | None = None
    data_root: Path | None = None
    compare: tuple[Path, Path] | None = None
    report: str | None = None
    sweep: tuple[str, ...] = ()
    calibrate: bool = False
    save: Path | None = None
    protocol: str | None = None
    data: str | None = None
    prepare: Path | None = None
    init: str | None = None
    epochs: int | None = None
    accumulate: int | None = None
    draws: int | None = None
    learning_rate: float | None = None
    warmup_steps: int | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    lambda_contrastive: float | None = None
    lambda_detail: float | None = None
    lambda_negative: float | None = None
    lambda_short: float | None = None
    gather: bool = False
    freeze: tuple[str, ...] = ()
    blend: float | None = None
    recompute: bool = False
    held_out: int | None = None
    validate_every: int | None = None
    save_every: int | None = None
    workers: int | None = None


class _BadValueError(Exception):
    """What a value must be, and a hint at which good one was meant."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint


def _one_of(*choices: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value in choices:
            return str(value)
        raise _BadValueError(_listed(choices), meant_by(str(value), choices))

    return read


def _listed(choices: tuple[str, ...]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else choices[0]


def _whole(low: int, high: int | None = None) -> Callable[[object], int]:
    bounds = f"{low} or more" if high is None else f"{low} to {high}"

    def read(value: object) -> int:
        number = value
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,19}\s*", value):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool) or number < low or (high and number > high):
            raise _BadValueError(f"a whole number, {bounds}")
        return number

    return read


def _batch_size(value: object) -> int | None:
    try:
        return None if value == "auto" else _whole(1)(value)
    except _BadValueError:
        raise _BadValueError("auto or a whole number, 1 or more") from None


def _finite(value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _BadValueError("a finite number, such as -5e-5")
    return number


def _truth(value: object) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise _BadValueError("true or false")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _BadValueError("a string")
    return value


def _name(value: object) -> str:
    if not _text(value).strip():
        raise _BadValueError("a name or a path")
    return str(value)


def _device(value: object) -> str:
    if isinstance(value, str) and _DEVICE.fullmatch(value.strip().lower()):
        return value.strip().lower()
    raise _BadValueError("auto, cpu, cuda, cuda:N or mps", meant_by(str(value), DEVICES))


def _folder(value: object) -> Path:
    try:
        return Path(_name(value)).expanduser()
    except RuntimeError:
        raise _BadValueError("a folder without ~, as there is no home folder") from None


def _names(value: object) -> tuple[str, ...]:
    """Several names, or a single one."""
    return tuple(_name(one) for one in (value if isinstance(value, list | tuple) else [value]))


def _some_of(*choices: str) -> Callable[[object], tuple[str, ...]]:
    read = _one_of(*choices)
    return lambda value: tuple(read(one) for one in (value if isinstance(value, list | tuple) else [value]))


def _share(value: object) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", value) if isinstance(value, str) else None
    if found and 1 <= int(found[1]) <= int(found[2]):
        return int(found[1]), int(found[2])
    raise _BadValueError("I/N with I from 1 to N, such as 1/4")


def _between(low: float, high: float = math.inf) -> Callable[[object], float]:
    bounds = f"a number, {low:g} or more" if high == math.inf else f"a number from {low:g} to {high:g}"

    def read(value: object) -> float:
        try:
            number = _finite(value)
        except _BadValueError:
            number = math.nan
        if not low <= number <= high:
            raise _BadValueError(bounds)
        return number

    return read


def _two_places(value: object) -> tuple[Path, Path]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _BadValueError("two results of eval")
    return _folder(value[0]), _folder(value[1])


READERS: Final[dict[str, Callable[[object], Any]]] = {
    "model": _name,
    "device": _device,
    "precision": _one_of(*PRECISIONS),
    "batch_size": _batch_size,
    "threads": _whole(1),
    "seed": _whole(0, MAX_SEED),
    "cache_dir": _folder,
    "offline": _truth,
    "format": _one_of(*FORMATS),
    "quiet": _truth,
    "verbose": _truth,
    "debug": _truth,
    "mode": _one_of(*MODES),
    "epsilon": _finite,
    "layers": _whole(1),
    "template": _text,
    "alignment": _one_of(*ALIGNMENTS),
    "check": _truth,
    "top": _whole(1),
    "dataset": _name,
    "limit": _whole(1),
    "output": _folder,
    "input": _names,
    "image_root": _folder,
    "shard": _share,
    "resume": _truth,
    "overwrite": _truth,
    "on_error": _one_of(*ERROR_RULES),
    "download": _truth,
    "accept_license": _names,
    "labels": _folder,
    "descriptions": _folder,
    "method": _one_of(*METHODS),
    "crops": _whole(1),
    "alpha": _between(0.0, 0.9),
    "explain": _truth,
    "image_logscale": _between(-20.0, 20.0),
    "text_logscale": _between(-20.0, 20.0),
    "prompt": _text,
    "templates": _folder,
    "words": _folder,
    "text_file": _names,
    "by": _one_of(*PIECES),
    "margin": _between(0.0),
    "stretch": _truth,
    "data_root": _folder,
    "compare": _two_places,
    "report": _one_of(*REPORTS),
    "sweep": _names,
    "calibrate": _truth,
    "save": _folder,
    "protocol": _one_of(*PROTOCOLS),
    "data": _name,
    "prepare": _folder,
    "init": _name,
    "epochs": _whole(1),
    "accumulate": _whole(1),
    "draws": _whole(1),
    "learning_rate": _between(0.0),
    "warmup_steps": _whole(0),
    "weight_decay": _between(0.0),
    "clip_norm": _between(0.0),
    "lambda_contrastive": _between(0.0),
    "lambda_detail": _between(0.0),
    "lambda_negative": _between(0.0),
    "lambda_short": _between(0.0),
    "gather": _truth,
    "freeze": _some_of(*TOWERS),
    "blend": _between(0.01, 1.0),
    "recompute": _truth,
    "held_out": _whole(0),
    "validate_every": _whole(1),
    "save_every": _whole(1),
    "workers": _whole(1),
}
"""How each setting is read and checked, from text and from TOML alike."""


def meant_by(typed: str, known: Iterable[str]) -> str:
    """A hint that names the one or two of ``known`` that were probably meant, or an empty string."""
    lowered = {name.lower(): name for name in known}
    close = get_close_matches(typed.lower(), list(lowered), n=MEANT, cutoff=MEANT_CUTOFF)
    return f"did you mean {' or '.join(lowered[name] for name in close)}?" if close else ""


def flag_name(setting: str) -> str:
    """``batch_size`` as it is typed: ``--batch-size``."""
    return "--" + setting.replace("_", "-")


def resolve(command: str, flags: Mapping[str, object], *, start: Path | None = None) -> Settings:
    """The settings of one run.

    Args:
        command: name of the subcommand.
        flags: what was typed, by setting; None for what was not.
        start: where the search for a settings file begins; the working directory by default.

    Raises:
        UsageError: a flag's value is out of its range.
        SettingsError: a variable or the settings file holds something unusable.
    """
    unknown = set(flags) - set(READERS)
    if unknown:
        raise TypeError(f"no such settings: {sorted(unknown)}")
    from_file = _from_file(command, start)
    found: dict[str, Any] = {}
    for name in READERS:
        if flags.get(name) is not None:
            found[name] = _checked(name, flags[name], origin=flag_name(name), error=UsageError)
        elif variable := _variable(name):
            found[name] = _checked(name, os.environ[variable], origin=variable, error=SettingsError)
        elif name in from_file:
            value, origin, folder = from_file[name]
            found[name] = _checked(name, value, origin=origin, error=SettingsError)
            if isinstance(found[name], Path):
                found[name] = folder / found[name]
    _check_format(command, found.get("format"))
    found.setdefault("model", MODELS_OF.get(command, DEFAULT_MODEL))
    return Settings(**found)


def _check_format(command: str, format: str | None) -> None:
    has = FORMATS_OF.get(command, FORMATS)
    if format is not None and format not in has:
        raise UsageError(f"{command} has no format {format!r}", hint=f"it has {_listed(has)}", input="--format")


def _from_file(command: str, start: Path | None) -> dict[str, tuple[object, str, Path]]:
    try:
        start = start or Path.cwd()
    except FileNotFoundError:
        return {}  # the working directory was deleted: no file is near
    return read_settings_file(command, start=start)


def _variable(name: str) -> str:
    """The environment variable that sets ``name`` now, or an empty string; an empty variable sets nothing."""
    for variable in (ENVIRONMENT_PREFIX + name.upper(), *OTHER_VARIABLES.get(name, ())):
        if os.environ.get(variable):
            return variable
    return ""


def _checked(name: str, value: object, *, origin: str, error: type[UsageError]) -> Any:
    try:
        return READERS[name](value)
    except _BadValueError as bad:
        message = f"{origin} must be {bad.expected}, not {value!r}"
        raise error(message, hint=bad.hint, input=origin) from None


def value_of(name: str, value: object, *, origin: str) -> Any:
    """``value`` as setting ``name`` has it.

    Raises:
        UsageError: it is out of its range; the error names ``origin``.
    """
    return _checked(name, value, origin=origin, error=UsageError)


def find_settings_file(start: Path) -> tuple[Path, dict[str, Any], str] | None:
    """The nearest settings file upward from ``start``: path, table, and the table's name in messages.

    ``clipalign.toml`` wins over a ``pyproject.toml`` beside it; a ``pyproject.toml`` without ``[tool.clipalign]`` is
    passed over.
    """
    for folder in (start, *start.parents):
        own = folder / "clipalign.toml"
        if own.is_file():
            document = _toml(own)
            nested = document.get("tool")
            if isinstance(nested, dict) and "clipalign" in nested:
                return own, _table(nested["clipalign"], own, "[tool.clipalign]"), "tool.clipalign"
            return own, document, ""
        project = folder / "pyproject.toml"
        if project.is_file():
            tools = _toml(project).get("tool")
            if isinstance(tools, dict) and "clipalign" in tools:
                return project, _table(tools["clipalign"], project, "[tool.clipalign]"), "tool.clipalign"
    return None


def read_settings_file(command: str, *, start: Path) -> dict[str, tuple[object, str, Path]]:
    """Value, origin for messages, and folder of every setting the nearest file holds for ``command``.

    Raises:
        SettingsError: the file cannot be read, is no TOML, or has a key nobody knows.
    """
    nearest_file = find_settings_file(start)
    if nearest_file is None:
        return {}
    path, table, table_name = nearest_file
    found: dict[str, tuple[object, str, Path]] = {}
    own: dict[str, tuple[object, str, Path]] = {}
    for key, value in table.items():
        if key in COMMANDS:
            inner_name = f"{table_name}.{key}".lstrip(".")
            for inner, inner_value in _table(value, path, f"[{inner_name}]").items():
                name = _known(inner, path, inner_name, list(READERS))
                if key == command:
                    own[name] = (inner_value, _origin(path, inner_name, inner), path.parent)
        else:
            name = _known(key, path, table_name, [*READERS, *COMMANDS])
            found[name] = (value, _origin(path, table_name, key), path.parent)
    return found | own


def _origin(path: Path, table: str, key: str) -> str:
    return f"{path}: {f'[{table}] ' if table else ''}{key}"


def _known(key: str, path: Path, table: str, known: list[str]) -> str:
    """``key`` as a setting's name; ``batch-size`` and ``batch_size`` are the same."""
    name = key.replace("-", "_")
    if name in READERS:
        return name
    place = f" in [{table}]" if table else ""
    raise SettingsError(
        f"{path}: unknown key {key!r}{place}",
        hint=meant_by(key, [one.replace("_", "-") for one in known]) or "clipalign COMMAND --help lists the settings",
        input=str(path),
    )


def _table(value: object, path: Path, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise SettingsError(f"{path}: {name} must be a table, not {value!r}", input=str(path))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}", input=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"{path} cannot be read: {reason}", input=str(path)) from error
