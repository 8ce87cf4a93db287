"""The completion scripts are those of today's commands, and shells make of them what they should."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clipalign.completion import FILES, SHELLS, completion_script
from clipalign.models.registry import model_names
from tests.cli.run import ROOT

FOLDER = ROOT / "completions"
BASH, ZSH, FISH = (shutil.which(shell) for shell in SHELLS)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_files_are_current(shell: str) -> None:
    found = (FOLDER / FILES[shell]).read_text(encoding="utf-8")
    assert found == completion_script(shell), "run: python -m clipalign.completion completions"


def test_the_module_prints_a_script_or_writes_all_three(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clipalign.completion"]
    printed = subprocess.run([*command, "fish"], capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert printed.stdout == completion_script("fish")
    subprocess.run([*command, str(tmp_path)], check=True, cwd=ROOT, timeout=600)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES.values())
    mistyped = subprocess.run([*command, "powershell"], capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert mistyped.returncode == 1 and "bash|zsh|fish" in mistyped.stderr and not (ROOT / "powershell").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_model_is_in_every_script(shell: str) -> None:
    script = completion_script(shell)
    assert all(name in script for name in model_names())


def complete_in_bash(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of ``words``, with no program on its path."""
    script = f"""
        source "{FOLDER / FILES["bash"]}"
        PATH=
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _clipalign
        ((${{#COMPREPLY[@]}})) && printf '%s\\n' "${{COMPREPLY[@]}}"
        exit 0
    """
    assert BASH is not None
    done = subprocess.run([BASH, "-c", script, "-", *words], capture_output=True, text=True, cwd=folder, timeout=60)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["clipalign", "de"], ["detect"]),
        (["clipalign", "--vers"], ["--version"]),
        (["clipalign", "detect", "--model", "long"], ["longclip-B", "longclip-B-32", "longclip-L"]),
        (["clipalign", "detect", "-m", "pic"], ["pictogram", "pictogram-long", "picture of a cup.png"]),
        (["clipalign", "detect", "--model", "=", "spec"], ["specs", "specs-base"]),
        (
            ["clipalign", "detect", "--format", ""],
            ["table", "json", "jsonl", "jsonl.gz", "csv", "parquet", "tar", "html", "github"],
        ),
        (["clipalign", "detect", "--format", "=", "js"], ["json", "jsonl", "jsonl.gz"]),
        (["clipalign", "detect", "--device", "c"], ["cpu", "cuda"]),
        (["clipalign", "detect", "--mode", "m"], ["most-negative"]),
        (["clipalign", "detect", "--layers", ""], []),
        (["clipalign", "detect", "--che"], ["--check"]),
        (["clipalign", "detect", "pict"], ["picture of a cup.png"]),
        (["clipalign", "eval", "--dataset", "pictogram-f"], ["pictogram-foil"]),
        (["clipalign", "classify", "--dataset", "fo"], ["food101"]),
        (["clipalign", "detect", "--input", "pic"], ["picture of a cup.png"]),
        (["clipalign", "download", "nocaps"], ["nocaps-foil"]),
        (["clipalign", "detect", "--cache-dir", ""], ["folder"]),
    ],
)
def test_bash_offers(tmp_path: Path, words: list[str], offered: list[str]) -> None:
    (tmp_path / "picture of a cup.png").touch()
    (tmp_path / "folder").mkdir()
    assert complete_in_bash(tmp_path, *words) == offered


@pytest.mark.skipif(FISH is None, reason="needs fish")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("clipalign de", ["detect"]),
        ("clipalign detect --model long", ["longclip-B", "longclip-B-32", "longclip-L"]),
        ("clipalign detect -m pic", ["pictogram", "pictogram-long", "picture of a cup.png"]),
        ("clipalign detect --format ", ["csv", "github", "html", "json", "jsonl", "table"]),
        ("clipalign detect --che", ["--check"]),
        ("clipalign eval --dataset pictogram-f", ["pictogram-foil"]),
    ],
)
def test_fish_offers(tmp_path: Path, line: str, offered: list[str]) -> None:
    (tmp_path / "picture of a cup.png").touch()
    (tmp_path / "home").mkdir()
    program = f"source '{FOLDER / FILES['fish']}'; complete -C '{line}'"
    assert FISH is not None
    done = subprocess.run(
        [FISH, "--no-config", "-c", program],
        capture_output=True, text=True, cwd=tmp_path, env={"HOME": str(tmp_path / "home")}, timeout=120,
    )  # fmt: skip
    found = sorted(row.split("\t")[0] for row in done.stdout.splitlines())
    typed = line.rpartition(" ")[2]
    assert [word for word in found if word.startswith(typed)] == offered  # fish 4 goes on with words that only resemble


@pytest.mark.skipif(ZSH is None, reason="needs zsh")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("clipalign de", "clipalign detect"),
        ("clipalign detect --model pictog", "clipalign detect --model pictogram"),
        ("clipalign detect -m pictog", "clipalign detect -m pictogram"),
        ("clipalign detect --format ht", "clipalign detect --format html"),
        ("clipalign detect --format=ht", "clipalign detect --format=html"),
        ("clipalign detect --mode most", "clipalign detect --mode most-negative"),
        ("clipalign eval --dataset pictogram-f", "clipalign eval --dataset pictogram-foil"),
        ("clipalign detect pict", r"clipalign detect picture\ of\ a\ cup.png"),
    ],
)
def test_zsh_completes(tmp_path: Path, typed: str, completed: str) -> None:
    pexpect = pytest.importorskip("pexpect")
    (tmp_path / "picture of a cup.png").touch()
    shell = pexpect.spawn(ZSH, ["-f", "-i"], cwd=str(tmp_path), encoding="utf-8", timeout=120, dimensions=(24, 200))
    # the file is found on fpath, as an installed one is; a key prints the line instead of running it
    shell.sendline(
        f"PS1=; unsetopt zle_bracketed_paste; fpath=('{FOLDER}' $fpath); autoload -Uz compinit; compinit -u -D; "
        "show() { print -r -- $'\\n'\"<<$BUFFER>>\" }; zle -N show; bindkey '^G' show; print READY$((1 + 1))"
    )
    shell.expect_exact("READY2")
    shell.send(f"{typed}\t\x07")
    shell.expect(r"<<(.*?)>>")
    assert shell.match.group(1).strip() == completed
    shell.close(force=True)
