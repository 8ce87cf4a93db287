"""No option is dead, and settings come from every source."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from clipalign.cli import built_command, main
from clipalign.commands import COMMANDS
from clipalign.errors import DownloadFailed
from clipalign.models.registry import find_model
from clipalign.training.checkpoints import Checkpoint, save_checkpoint
from tests.cli.run import GOLDEN
from tests.contract.demonstrations import DEMONSTRATIONS, Demonstration, Line, Seen
from tests.word_datasets import write_hat

STOCKED = find_model("ViT-B-32").weights[1]


def options_of(command: str) -> dict[str, Any]:
    """A command's options by the names they have in Python."""
    return {one.name: one for one in built_command(command).params if one.param_type_name == "option"}


PAGES = ("help", "help_all")
PAIRS = [(command, name) for command in COMMANDS for name in options_of(command)]


class World:
    """A folder of small inputs, copied for every run; a line runs once, whoever asks."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.number = 0
        (folder / "inputs").mkdir()
        fill(folder / "inputs")
        self.seen = cache(self._seen)

    def _seen(self, line: Line, before: tuple[Line, ...]) -> Seen:
        import torch

        self.number += 1
        here = self.folder / str(self.number)
        shutil.copytree(self.folder / "inputs", here)
        os.chdir(here)
        for one in before:
            assert main(list(one)) in (0, 3)
        threads = torch.get_num_threads()
        there = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
        self.capsys.readouterr()
        status = main(list(line))
        captured = self.capsys.readouterr()
        seen = Seen(status, captured.out, captured.err, changed(here, there), torch.get_num_threads())
        torch.set_num_threads(threads)
        return seen


def changed(folder: Path, before: dict[Path, int]) -> dict[str, bytes]:
    """Files that a run wrote, and under their names with a minus those that it removed."""
    now = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    new = {str(path.relative_to(folder)): path.read_bytes() for path in now if before.get(path) != now[path]}
    return new | {f"-{path.relative_to(folder)}": b"" for path in before if path not in now}


def scored(number: int, score: float) -> str:
    """A line of an output of detect."""
    record = {"id": f"{number}", "image": f"{number}.png", "model": "m", "clip_score": score, "misaligned": []}
    return json.dumps({**record, "f_clip_score": 0.0}) + "\n"


def fill(folder: Path) -> None:
    """Pictures, texts, tables, data sets, and a cache with a file of the right name."""
    shutil.copy(GOLDEN / "images" / "0.png", folder / "a.png")
    (folder / "photos").mkdir()
    for number, name in enumerate(("b.png", "c.png"), 1):
        shutil.copy(GOLDEN / "images" / f"{number}.png", folder / "photos" / name)
    (folder / "mine" / "descriptions" / "dtd").mkdir(parents=True)
    (folder / "mine" / "descriptions" / "dtd" / "cupl.json").write_text('{"dotted": ["dots"], "striped": ["stripes"]}')
    texts = {
        "labels.txt": "car\ncat\n",
        "d.json": json.dumps({"car": ["a red car", "it has wheels"], "cat": ["a cat", "it has fur"]}),
        "templates.txt": "a drawing of a {}\n",
        "words.txt": "one\ntwo\nthree\nfour\n",
        "long.txt": "A dog. It is brown.",
        "better.jsonl": "".join(scored(number, 0.9) for number in range(12)),
        "worse.jsonl": "".join(scored(number, 0.1) for number in range(12)),
        "photos.jsonl": '{"image": "a.png", "text": "a red car", "label": 1}\n{"image": "b.png", "text": "a cat"}\n',
        "renamed.jsonl": '{"file": "a.png", "caption": "a red car"}\n',
        "raw.jsonl": "".join(
            json.dumps({"image": name, "text": "A red square. It is small, and blue. Nothing else."}) + "\n"
            for name in ("b.png", "c.png")
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    cifar = folder / "cifar" / "cifar-10-batches-bin"
    cifar.mkdir(parents=True)
    (cifar / "test_batch.bin").write_bytes(bytes(3073) * 2)
    (cifar / "batches.meta.txt").write_text("".join(f"class {number}\n" for number in range(10)))
    sentences = {f"class {number}": [f"it is {number}", "it has a shape"] for number in range(10)}
    (folder / "cifar.json").write_text(json.dumps(sentences))
    write_hat(folder / "hat")
    write_hat(folder / "torn")
    for picture in sorted((folder / "torn" / "val2014").iterdir()):
        picture.write_bytes(b"torn")
    from urllib.parse import urlsplit

    address = urlsplit(STOCKED.url)
    file = folder / "stocked" / "weights" / str(address.hostname) / address.path.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"stocked")


def refuse_to_fetch(row: Any, *_: Any, handed_over: Any = ()) -> None:
    raise DownloadFailed(f"nothing is fetched in tests: {row.name} {', '.join(map(str, handed_over))}")


def saved_and_noted(run: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Older checkpoints go when a newer one is whole, so that in the end nobody could say how many there were."""
    with Path("saved").open("a") as notes:
        notes.write(f"{step}\n")
    return save_checkpoint(run, step, checkpoint)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """The one world of this module, and what holds while it stands."""
    with pytest.MonkeyPatch.context() as patch:
        for room in ("metrics", "compare"):
            patch.setattr(importlib.import_module(f"clipalign.evaluation.{room}"), "BOOTSTRAP_DRAWS", 60)
        for kind in ("model", "dataset"):
            patch.setattr(f"clipalign.download.named.fetch_{kind}", refuse_to_fetch)
        patch.setattr("clipalign.training.loop.save_checkpoint", saved_and_noted)
        patch.setenv("CLIPALIGN_NOBODY", "1")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        patch.chdir(tmp_path_factory.mktemp("start"))
        yield {}


@pytest.fixture
def world(
    shared: dict[str, World], tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> World:
    one = shared.setdefault("world", World(tmp_path_factory.mktemp("world"), capsys)) if not shared else shared["world"]
    one.capsys = capsys
    return one


@pytest.mark.parametrize(("command", "name"), PAIRS, ids=lambda value: value)
def test_the_option_changes_what_is_seen(world: World, command: str, name: str) -> None:
    if name in PAGES:
        assert main([command, f"--{name.replace('_', '-')}"]) == 0
        return
    one: Demonstration = DEMONSTRATIONS[command, name]
    option = options_of(command)[name]
    assert any(word in [*option.opts, *option.secondary_opts] for word in one.line), "the line does not have the option"
    without, with_it = world.seen(one.plain, one.before), world.seen(one.line, one.before)
    assert 70 not in (without.status, with_it.status), without.err + with_it.err
    assert one.look(with_it) != one.look(without), (with_it[:3], without[:3])


def test_every_option_has_a_demonstration_and_nothing_else_has() -> None:
    assert set(DEMONSTRATIONS) == {(command, name) for command, name in PAIRS if name not in PAGES}


SOURCES = ("pyproject.toml", "its table in pyproject.toml", "clipalign.toml", "its table in clipalign.toml", "variable")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("command", COMMANDS)
def test_settings_come_from_every_source(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, source: str
) -> None:
    """Seen in the table that ``format = "table"`` makes of what would be a JSON document."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    line = list(DEMONSTRATIONS[command, "format"].plain)
    if source == "variable":
        monkeypatch.setenv("CLIPALIGN_FORMAT", "table")
    else:
        table = "tool.clipalign" if source.endswith("pyproject.toml") else ""
        own = source.startswith("its")
        inner = f"{table}.{command}".lstrip(".") if own else table
        text = f'{f"[{inner}]" if inner else ""}\nformat = "table"\n'
        if own:
            text = f'{f"[{table}]" if table else ""}\nformat = "json"\n' + text
        (tmp_path / source.rpartition(" ")[2]).write_text(text)
    world.capsys.readouterr()
    assert main(line) == 0
    assert not world.capsys.readouterr().out.startswith("{")
