"""What an installation holds: every file of the package, what belongs beside it, and nothing that merely lay there.

The distributions are built as an index would get them, the source from the repository and the wheel from the source,
with the setuptools of this environment and no network.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from clipalign.commands import COMMANDS
from clipalign.completion import FILES
from clipalign.version import __version__
from tests.cli.run import ROOT
from tests.contract.pages import command_lines
from tests.contract.test_pages import take

NAME = f"clipalign-{__version__}"
PACKAGE = ROOT / "clipalign"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
DECLARED = {
    extra: [Requirement(line) for line in lines]
    for extra, lines in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items()
}
"""By extra, the empty name for what every installation gets."""

MOST_BYTES = 20_000_000
LICENSES = ("LICENSE", "NOTICE", "clipalign/pictogram/licenses/CC-BY-4.0.txt")
PLACES = {
    "bash": "share/bash-completion/completions",
    "zsh": "share/zsh/site-functions",
    "fish": "share/fish/vendor_completions.d",
}
"""Where each shell looks for completions, below the prefix of an installation."""

BUILD = "import sys; sys.path.insert(0, {path!r}); import {backend}; {backend}.{kind}(sys.argv[1])"
RUN = "import sys, clipalign; print(clipalign.__file__, file=sys.stderr); from clipalign.__main__ import run; run()"


@dataclass(frozen=True)
class Distributions:
    """Both distributions, built and unpacked.

    Attributes:
        repository: a copy of this repository, as it was when they were built.
        wheel: the file.
        installed: the folder with what it installs, as it is in the wheel.
        source: the folder with the source distribution.
    """

    repository: Path
    wheel: Path
    installed: Path
    source: Path

    @property
    def metadata(self) -> Message:
        """What an index says about it."""
        text = (self.installed / f"{NAME}.dist-info" / "METADATA").read_text(encoding="utf-8")
        return HeaderParser().parsestr(text)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distributions]:
    folder = tmp_path_factory.mktemp("built")
    left_out = ("__pycache__", ".*_cache", ".hypothesis", ".git", ".venv", "build", "dist", "*.egg-info", "shared")
    shutil.copytree(ROOT, folder / "repository", ignore=shutil.ignore_patterns(*left_out))
    source = folder / f"{NAME}.tar.gz"
    build("build_sdist", folder / "repository", folder)
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    build("build_wheel", folder / NAME, folder)
    wheel = folder / f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    yield Distributions(folder / "repository", wheel, folder / "installed", folder / NAME)
    shutil.rmtree(folder)


def build(kind: str, repository: Path, folder: Path) -> None:
    """One hook of the build backend, in a process of its own as installers call it."""
    system = PYPROJECT["build-system"]
    script = BUILD.format(path=system["backend-path"][0], backend=system["build-backend"], kind=kind)
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def files_of(folder: Path) -> set[str]:
    """Files below ``folder``, as paths from it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_is_small(built: Distributions) -> None:
    assert built.wheel.stat().st_size <= MOST_BYTES


def test_the_wheel_holds_every_file_of_the_package_byte_for_byte(built: Distributions) -> None:
    package, installed = built.repository / "clipalign", built.installed / "clipalign"
    # pages are read in the repository; the model card goes with its weights
    names = {name for name in files_of(package) if not name.endswith(".md") or name == "pictogram/MODEL_CARD.md"}
    assert files_of(installed) == names
    assert [name for name in names if (installed / name).read_bytes() != (package / name).read_bytes()] == []


def test_every_folder_of_the_package_with_modules_is_one() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_it_is_typed_for_those_who_import_it(built: Distributions) -> None:
    assert (built.installed / "clipalign" / "py.typed").is_file()


def test_beside_the_package_lie_completions_licenses_and_the_entry_point_and_nothing_else(built: Distributions) -> None:
    beside = {name for name in files_of(built.installed) if not name.startswith("clipalign/")}
    shells = {f"{NAME}.data/data/{place}/{FILES[shell]}" for shell, place in PLACES.items()}
    licenses = {f"{NAME}.dist-info/licenses/{name}" for name in LICENSES}
    written = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt")
    assert beside == shells | licenses | {f"{NAME}.dist-info/{name}" for name in written}
    assert (built.installed / f"{NAME}.dist-info" / "entry_points.txt").read_text().split("\n", 1)[1].strip() == (
        "clipalign = clipalign.__main__:run"
    )


@pytest.mark.parametrize("shell", PLACES)
def test_each_shell_gets_its_completions_where_it_looks(built: Distributions, shell: str) -> None:
    installed = built.installed / f"{NAME}.data" / "data" / PLACES[shell] / FILES[shell]
    assert installed.read_bytes() == (built.repository / "completions" / FILES[shell]).read_bytes()


@pytest.mark.parametrize("name", LICENSES)
def test_licenses_travel_with_it_unchanged(built: Distributions, name: str) -> None:
    assert (built.installed / f"{NAME}.dist-info" / "licenses" / name).read_bytes() == (
        built.repository / name
    ).read_bytes()
    assert built.metadata["License-Expression"] == "Apache-2.0 AND CC-BY-4.0"


def test_an_index_shows_a_text_that_stands_alone(built: Distributions, tmp_path: Path) -> None:
    assert built.metadata["Version"] == __version__
    assert built.metadata["Description-Content-Type"] == "text/markdown"
    text = built.metadata.get_payload()
    assert isinstance(text, str)
    assert [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("https://")] == []
    assert re.findall(r"!\[|<\w", text) == []
    lines = command_lines(text.partition("```sh")[2].partition("```")[0])
    assert lines
    for line in lines:
        take(line, tmp_path)
    assert set(re.findall(r"^\| `clipalign ([\w-]+)`", text, re.MULTILINE)) == set(COMMANDS)


def test_every_extra_that_is_declared_can_be_asked_for(built: Distributions) -> None:
    assert built.metadata.get_all("Provides-Extra") == list(PROJECT["optional-dependencies"])


def test_the_source_distribution_is_the_repository(built: Distributions) -> None:
    written = {"PKG-INFO", "setup.cfg"}
    made = ("clipalign.egg-info/", "build/")  # by the build of one, and of the wheel from it
    found = {name for name in files_of(built.source) if not name.startswith(made)}
    others = (".gitignore", ".gitattributes")  # of the repository alone
    kept = {name for name in files_of(built.repository) if not name.startswith((*made, *others))}
    assert found == kept | written


PLACES_OF_IMPORTS = {"clipalign": {"dev"}, "tests": set(), ".assets": set(), ".ci": set()}
"""Folder → extras that nothing in it may need."""


@functools.cache
def imported(folder: str) -> set[str]:
    """Packages of others that the modules of a folder import, by any statement or by name."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import():
                    found |= {alias.name for alias in node.names}
                case ast.ImportFrom(level=0, module=str(name)):
                    found.add(name)
                case ast.Call(func=ast.Name("need" | "import_module") | ast.Attribute(attr="import_module")):
                    if isinstance(named := getattr(node.args[0], "value", None), str):
                        found.add(named)
    ours = {
        "clipalign",
        *(path.stem for folder in PLACES_OF_IMPORTS for path in (ROOT / folder, *(ROOT / folder).glob("*"))),
    }
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names - ours - {"_typeshed"}


installed = functools.cache(metadata.packages_distributions)
"""Package → names of what installs it; reads the lists of files of all that is installed."""


def distributions(package: str) -> set[str]:
    """Names of what installs a package, as indexes compare them."""
    return {canonicalize_name(name) for name in installed().get(package, [package])}


OF_A_CLUSTER = ("pyspark",)
"""Packages that a recipe uses where a cluster has them, and nobody installs for it."""


@pytest.mark.parametrize("folder", PLACES_OF_IMPORTS)
def test_what_is_imported_is_declared(folder: str) -> None:
    allowed = {
        canonicalize_name(one.name)
        for extra, ones in DECLARED.items()
        if extra not in PLACES_OF_IMPORTS[folder]
        for one in ones
    }
    others = [package for package in imported(folder) if package not in OF_A_CLUSTER]
    assert [package for package in others if not distributions(package) & allowed] == []


def test_what_every_installation_gets_is_imported() -> None:
    used = {name for package in imported("clipalign") for name in distributions(package)}
    assert {canonicalize_name(one.name) for one in DECLARED[""]} <= used


def test_the_lowest_versions_declared_are_the_ones_that_ci_installs() -> None:
    lines = (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one in (Requirement(line) for line in lines if line and not line.startswith("#"))
    }
    lowest = {
        canonicalize_name(one.name): [item.version for item in one.specifier if item.operator == ">="]
        for ones in DECLARED.values()
        for one in ones
        if one.name != "clipalign"
    }
    assert {name: [Version(version) for version in versions] for name, versions in lowest.items()} == {
        name: [Version(pinned[name])] if name in pinned else [] for name in lowest
    }


def test_the_wheel_alone_tells_which_word_does_not_fit(built: Distributions, tmp_path: Path) -> None:
    picture = shutil.copy(built.repository / "clipalign" / "pictogram" / "example.png", tmp_path)
    command = [sys.executable, "-c", RUN, "detect", str(picture), "a dog and two balloons", "--model", "pictogram"]
    alone = os.environ | {"PYTHONPATH": str(built.installed)}
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=300)
    assert done.stderr == f"{built.installed / 'clipalign' / '__init__.py'}\n"
    assert json.loads(done.stdout)["misaligned"] == ["dog"]
