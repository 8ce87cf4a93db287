"""Where the cache folder is, and what lies where in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipalign.cache import cache_folder, data_folder

pytestmark = pytest.mark.usefixtures("home")


def test_the_cache_is_the_option_then_the_variable_then_the_platforms(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder("~/mine") == home / "mine"
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == home / ".cache" / "clipalign"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "clipalign"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == home / "Library" / "Caches" / "clipalign"
    monkeypatch.setenv("CLIPALIGN_CACHE", str(tmp_path / "env"))
    assert cache_folder() == tmp_path / "env"
    assert not (tmp_path / "env").exists()


def test_a_data_set_lies_in_the_cache_or_where_it_is_said_to(tmp_path: Path) -> None:
    assert data_folder("dtd", cache_dir=tmp_path) == tmp_path / "datasets" / "dtd"
    assert data_folder("dtd", data_root=tmp_path) == tmp_path
    (tmp_path / "dtd").mkdir()
    assert data_folder("dtd", data_root=tmp_path) == tmp_path / "dtd"
