"""The commands: one module each, and what several share; light to import, what is heavy they import when they run.

``COMMANDS`` is the table of them, which ``--help``, completion and settings files read.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from clipalign.config.settings import declared

if TYPE_CHECKING:
    from clipalign.config.settings import Tables


class CommandRow(NamedTuple):
    """A command's function, as ``module:function``, its one line for ``--help``, and the settings that people need.

    ``--help`` of the command shows these, ``--help-all`` every one; without any both show all.
    """

    target: str
    summary: str
    shown: str = ""


COMMANDS: Final[dict[str, CommandRow]] = {
    "download": CommandRow(
        "clipalign.commands.download:download", "List, fetch, verify and remove models and data sets."
    ),
    "detect": CommandRow(
        "clipalign.commands.detect:detect",
        "Which words of a text do not fit an image.",
        "epsilon suggest explain input columns image_root output resume format check max_misaligned model device",
    ),
    "classify": CommandRow(
        "clipalign.commands.classify:classify",
        "Which class an image shows, and why.",
        "labels descriptions dataset method input columns image_root limit output resume top probabilities "
        "explain format model device",
    ),
    "score-long": CommandRow(
        "clipalign.commands.score_long:score_long",
        "How well a long text fits an image, sentence by sentence.",
        "text_file by margin input columns image_root limit output resume check format model device",
    ),
    "eval": CommandRow(
        "clipalign.commands.eval:evaluate",
        "Measure a model on a benchmark.",
        "dataset data_root limit calibrate compare output report resume format model device",
    ),
    "train-specs": CommandRow(
        "clipalign.commands.train_specs:train_specs",
        "Train a model on long captions with right and wrong details.",
        "data prepare columns image_root objective epochs batch_size learning_rate freeze init output resume device",
    ),
}


def command_function(name: str) -> Any:
    """Import a command's function; its ``settings`` attribute is the class of its settings."""
    module, _, function = COMMANDS[name].target.partition(":")
    return getattr(import_module(module), function)


def settings_tables() -> Tables:
    return {name: declared(command_function(name).settings) for name in COMMANDS}
