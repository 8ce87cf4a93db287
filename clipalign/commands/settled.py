"""The first thing every command does: settle what it was asked for, and take up how much it is to say."""

from __future__ import annotations

from collections.abc import Mapping

from clipalign.report import configure
from clipalign.report.console import notices
from clipalign.settings import Settings, resolve
from clipalign.settings.sources import foreign_settings_files, unknown_variables


def settle(command: str, typed: Mapping[str, object]) -> Settings:
    """The settings of this run; variables and files that set nothing are told.

    Raises:
        UsageError: a flag's value is out of its range.
        SettingsError: a variable or the settings file holds something unusable.
    """
    settings = resolve(command, typed)
    configure(settings)
    for sentence in (*unknown_variables(), *foreign_settings_files()):
        notices.warn(sentence)
    return settings
