"""Models and data sets by name, for Python programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import clipalign
from clipalign.errors import MissingWeights, UnknownModel
from clipalign.models.registry import ROWS


def test_lists() -> None:
    assert [one.name for one in clipalign.list_models()] == list(ROWS)
    assert {"foil", "hat"} <= {one.name for one in clipalign.list_datasets()}


def test_the_package_and_the_function_share_a_name() -> None:
    program = (
        "import clipalign; first = clipalign.download; import clipalign.download.catalog;"
        "assert clipalign.download is first and callable(first); from clipalign.download import hub"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_what_is_not_here(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"offline .*forbids fetching"):
        clipalign.download("ViT-B-32", offline=True, cache_dir=tmp_path)
    with pytest.raises(UnknownModel):
        clipalign.download("ViT-B-33")
