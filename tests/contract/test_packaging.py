"""What an installation holds: every file of the package, not only what happens to lie in the checkout."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch

from tests.cli.run import ROOT

PACKAGE = ROOT / "clipalign"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PATTERNS: list[str] = PROJECT["tool"]["setuptools"]["package-data"]["clipalign"]


def data_files() -> list[str]:
    """Files of the package that are no Python, as paths from its folder."""
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [str(path.relative_to(PACKAGE)) for path in files if path.suffix != ".py"]


def test_every_file_of_the_package_is_installed() -> None:
    left_out = [name for name in data_files() if not any(fnmatch(name, pattern) for pattern in PATTERNS)]
    assert left_out == []


def test_every_pattern_finds_a_file() -> None:
    assert [pattern for pattern in PATTERNS if not any(fnmatch(name, pattern) for name in data_files())] == []


def test_every_folder_of_the_package_with_modules_is_one() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_licences_travel_with_it() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert all((ROOT / name).is_file() for name in PROJECT["project"]["license-files"])
