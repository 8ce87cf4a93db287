"""Flag, then variable, then file, then default; and errors that name the origin."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest

from clipalign.commands import settings_tables
from clipalign.commands.detect import DetectOptions
from clipalign.config import resolve as config
from clipalign.config.readers import whole
from clipalign.config.resolve import find_settings_file, foreign_files, unknown_variables
from clipalign.config.settings import CommandSettings, SameAs, Setting, Tables, declared, flag_name
from clipalign.config.suggest import suggestion
from clipalign.data.sentences import Cut
from clipalign.errors import SettingsError, UsageError
from clipalign.methods.settings import ClassifySettings, DetectSettings, LongSettings
from tests.settings import resolve

EVERY = [(command, name, setting) for command, table in settings_tables().items() for name, setting in table.items()]
ONLY_TYPED = [(command, name) for command, name, setting in EVERY if not setting.file and not setting.variable]
NOT_IN_FILES = [(command, name) for command, name, setting in EVERY if not setting.file and setting.variable]


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPALIGN_ENGINE", raising=False)  # which the tests set for all where OpenVINO is installed


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The root of a repository: nothing above it counts."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_without_anything_the_defaults_hold(project: Path) -> None:
    assert resolve("detect", {}, start=project) == DetectOptions()


def test_the_flag_wins_over_the_variable_over_the_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project / "clipalign.toml", "layers = 1\nseed = 1\nthreads = 1")
    monkeypatch.setenv("CLIPALIGN_LAYERS", "2")
    monkeypatch.setenv("CLIPALIGN_SEED", "2")
    found = resolve("detect", {"layers": "3"}, start=project)
    assert (found.layers, found.seed, found.threads) == (3, 2, 1)


def test_an_empty_variable_sets_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPALIGN_MODEL", "")
    assert resolve("detect", {}, start=project).model == "ViT-B-32"


def test_the_cache_has_a_variable_of_its_own_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPALIGN_CACHE", "/somewhere")
    assert resolve("detect", {}, start=project).cache_dir == Path("/somewhere")


def test_the_hub_s_offline_variable_is_respected(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve("detect", {}, start=project).offline
    assert not resolve("detect", {"offline": False}, start=project).offline


def test_the_nearest_file_upward_is_read(project: Path) -> None:
    write(project / "pyproject.toml", "[tool.clipalign]\nlayers = 1")
    inner = project / "a" / "b"
    inner.mkdir(parents=True)
    write(project / "a" / "pyproject.toml", "[tool.other]\nlayers = 9")
    assert resolve("detect", {}, start=inner).layers == 1
    write(project / "a" / "clipalign.toml", "layers = 2")
    assert resolve("detect", {}, start=inner).layers == 2


def test_clipalign_toml_wins_over_pyproject_beside_it_and_may_nest_its_table(project: Path) -> None:
    write(project / "pyproject.toml", "[tool.clipalign]\nlayers = 1")
    write(project / "clipalign.toml", "[tool.clipalign]\nlayers = 2")
    assert resolve("detect", {}, start=project).layers == 2


def test_a_command_s_table_holds_for_that_command_alone(project: Path) -> None:
    write(project / "pyproject.toml", "[tool.clipalign]\nlayers = 1\n[tool.clipalign.detect]\nlayers = 2")
    assert resolve("detect", {}, start=project).layers == 2
    assert resolve("eval", {}, start=project).layers == 1


def test_hyphens_and_underscores_are_the_same(project: Path) -> None:
    write(project / "clipalign.toml", "batch-size = 8\nimage_logscale = 2")
    found = resolve("classify", {}, start=project)
    assert (found.batch_size, found.image_logscale) == (8, 2)


def test_models_in_a_file_are_seen_from_its_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent)
    write(project / "clipalign.toml", 'model = "./config.json@../best.safetensors"\ninit = "pictogram"')
    found = resolve("detect", {}, start=project)
    assert found.model == f"{project}/config.json@{project}/../best.safetensors"
    assert resolve("train-specs", {}, start=project).init == "pictogram"


def test_places_fetching_and_what_starts_tasks_are_not_said_by_files() -> None:
    assert {name for _, name in NOT_IN_FILES} == {
        *("cache_dir", "data_root", "dataset", "data", "input", "image_root", "text_file", "shard", "compare"),
        *("columns", "keep_columns", "where", "top_share", "candidates", "calibration", "ignore_words", "baseline"),
        *("labels", "descriptions", "templates", "words"),
        *("output", "save", "report", "prepare", "resume", "overwrite", "download", "accept_license"),
        *("sweep", "compare_precision", "calibrate", "false_alarms", "self_labeled", "verify", "keep_vectors"),
    }
    assert {name for _, name in ONLY_TYPED} == {
        *("label", "describe_with", "reference", "list_them", "dry_run", "verify", "remove", "handed_over"),
        "update_baseline",
    }


@pytest.mark.parametrize(("command", "name"), NOT_IN_FILES)
def test_a_file_does_not_say_where_to_read_and_write_or_what_to_fetch(project: Path, command: str, name: str) -> None:
    path = write(project / "clipalign.toml", f'{name} = "x"')
    with pytest.raises(SettingsError, match=f"{name} does not belong in a settings file") as caught:
        resolve(command, {}, start=project)
    assert str(path) in caught.value.message
    assert f"{settings_tables()[command][name].flag} " in caught.value.hint and "CLIPALIGN_" in caught.value.hint


@pytest.mark.parametrize("key", ["describe-with", "describe_with", "reference", "remove", "list_them"])
def test_a_file_does_not_say_what_is_typed_for_one_run(project: Path, key: str) -> None:
    write(project / "clipalign.toml", f'[classify]\n{key} = "http://127.0.0.1/v1 a-model"')
    with pytest.raises(SettingsError, match=f"{key} does not belong in a settings file") as caught:
        resolve("classify", {}, start=project)
    assert caught.value.hint == f"give --{key.replace('_', '-').removesuffix('-them')} on the command line"


def test_the_table_of_download_is_no_switch(project: Path) -> None:
    write(project / "clipalign.toml", "download = true")
    with pytest.raises(SettingsError, match="download does not belong in a settings file"):
        resolve("detect", {}, start=project)
    write(project / "clipalign.toml", "[download]\nquiet = true")
    assert resolve("download", {}, start=project).quiet and not resolve("detect", {}, start=project).quiet


@pytest.mark.parametrize("variable", ["CLIPALIGN_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_file_may_ask_for_no_network_and_not_allow_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    write(project / "clipalign.toml", "offline = true\ntimeout = 5")
    found = resolve("detect", {}, start=project)
    assert (found.offline, found.timeout) == (True, 5.0)
    write(project / "clipalign.toml", "offline = false")
    assert resolve("detect", {"offline": True}, start=project).offline
    monkeypatch.setenv(variable, "1")
    assert resolve("detect", {}, start=project).offline


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_a_pipe_named_like_a_settings_file_is_told(project: Path) -> None:
    os.mkfifo(project / "clipalign.toml")
    assert resolve("detect", {}, start=project).model == "ViT-B-32"
    assert foreign_files(project) == [
        f"{project / 'clipalign.toml'} is not read, because it is a device, a pipe or a socket, not a file"
    ]


def test_what_a_file_may_say_is_no_place() -> None:
    """A new setting that takes a path or an address is one for flags and variables alone."""
    places = {name for _, name, setting in EVERY if {"DIR", "FILE", "URL"} & set(re.split("[| ]", setting.value))}
    assert places and not places & {name for _, name, setting in EVERY if setting.file}


def test_files_count_up_to_the_repository_or_the_home_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = project / "a" / "b"
    inner.mkdir(parents=True)
    write(project / "clipalign.toml", "layers = 1")
    assert resolve("detect", {}, start=inner).layers == 1
    (project / "a" / ".git").mkdir()
    assert resolve("detect", {}, start=inner).layers != 1
    (project / "a" / ".git").rmdir()
    (project / ".git").rmdir()
    monkeypatch.setenv("HOME", str(project / "elsewhere"))
    monkeypatch.setenv("USERPROFILE", str(project / "elsewhere"))
    assert resolve("detect", {}, start=inner).layers != 1
    assert resolve("detect", {}, start=project).layers == 1
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.setenv("USERPROFILE", str(project))
    assert resolve("detect", {}, start=inner).layers == 1


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
def test_a_file_of_another_user_is_told_and_not_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(project / "clipalign.toml", "layers = 1")
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert (resolve("detect", {}, start=project).layers == 1) is (owner == 0)
    monkeypatch.undo()
    path.chmod(0o646)
    assert resolve("detect", {}, start=project).layers != 1
    monkeypatch.setattr(Path, "stat", lambda self, **_: SimpleNamespace(st_uid=4711, st_mode=0o100644))
    assert resolve("detect", {}, start=project).layers != 1
    assert foreign_files(project)[0] == f"{path} is not read, because another user owns it or may write it"


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="gives a link to another user")
def test_a_link_counts_for_no_more_than_who_made_it(project: Path) -> None:
    write(project / "mine.toml", "layers = 1")
    (project / "clipalign.toml").symlink_to("mine.toml")
    os.chown(project / "clipalign.toml", 12345, -1, follow_symlinks=False)
    assert resolve("detect", {}, start=project).layers != 1


def test_a_project_file_of_other_tools_is_none_of_ours(project: Path) -> None:
    write(project / "pyproject.toml", "no TOML at all")
    assert resolve("detect", {}, start=project) == DetectOptions()


def test_a_folder_that_nobody_may_look_into_holds_no_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", closed)
    assert resolve("detect", {}, start=project) == DetectOptions()


def test_an_unknown_key_names_file_key_and_what_was_meant(project: Path) -> None:
    path = write(project / "pyproject.toml", "[tool.clipalign]\nlayer = 1")
    with pytest.raises(SettingsError) as caught:
        resolve("detect", {}, start=project)
    assert str(path) in caught.value.message
    assert "'layer' in [tool.clipalign]" in caught.value.message
    assert caught.value.hint == "did you mean layers?"


def test_an_unknown_key_in_another_command_s_table_is_an_error_too(project: Path) -> None:
    write(project / "clipalign.toml", "[eval]\nmodle = 'x'")
    with pytest.raises(SettingsError, match="'modle' in \\[eval\\]"):
        resolve("detect", {}, start=project)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("layers = 0", "layers must be a whole number, 1 or more, not 0"),
        ("layers = true", "layers must be a whole number"),
        ("layers = 1.5", "layers must be a whole number"),
        ("model = 3", "model must be a string"),
        ("epsilon = nan", "epsilon must be a finite number"),
        ("check = 'perhaps'", "check must be true or false"),
        ("detect = 3", "[detect] must be a table, not 3"),
        ("layers = ", "is not valid TOML"),
        (f"layers = {'9' * 5000}", "is not valid TOML"),
        (f"layers = {'[' * 5000}", "is not valid TOML: nested too deep"),
        (f"layers{'.a' * 5000} = 1", "a line of more than 200 dots"),
        (f"layers = 0x{'f' * 5000}", "not a value of thousands of digits"),
        (f"layers = {2**40}", "layers must be a whole number, 1 to 2147483647"),
        ("#" * 1_000_001, "it is longer than 1 MB"),
    ],
)
def test_a_bad_value_in_a_file_is_a_sentence_that_names_the_file(project: Path, toml: str, said: str) -> None:
    path = write(project / "clipalign.toml", toml)
    with pytest.raises(SettingsError) as caught:
        resolve("detect", {}, start=project)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_a_file_that_is_no_utf8_is_a_sentence(project: Path) -> None:
    (project / "clipalign.toml").write_bytes(b"model = '\xff'")
    with pytest.raises(SettingsError, match="not UTF-8"):
        resolve("detect", {}, start=project)


def test_a_bad_value_in_a_variable_names_the_variable(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPALIGN_FORMAT", "tabel")
    with pytest.raises(SettingsError) as caught:
        resolve("detect", {}, start=project)
    assert (
        caught.value.message
        == "CLIPALIGN_FORMAT must be table, json, jsonl, jsonl.gz, csv, parquet, tar, html or github, not 'tabel'"
    )
    assert caught.value.hint == "did you mean table?"


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("layers", "0"), ("layers", "two"), ("layers", ""), ("top", "-1"), ("threads", "0"),
        ("threads", "20000"), ("threads", str(2**31)),
        ("workers", "2000"), ("crops", "100000"), ("limit", "9" * 30), ("batch_size", "none"),
        ("seed", "-1"), ("seed", str(2**63)), ("epsilon", "inf"), ("epsilon", "x"), ("mode", "most_negative"),
        ("output", "gone/"), ("device", "gpu"), ("device", "cuda:"), ("device", "cpu:0"), ("precision", "fp64"),
        ("model", " "),
    ],
)  # fmt: skip
def test_a_bad_flag_is_a_usage_error_that_names_the_flag(project: Path, name: str, bad: str) -> None:
    command = next(one for one, table in settings_tables().items() if one != "download" and name in table)
    with pytest.raises(UsageError) as caught:
        resolve(command, {name: bad}, start=project)
    assert caught.value.message.startswith(f"{flag_name(name)} must be ")
    assert not isinstance(caught.value, SettingsError)


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("epsilon", "-5e-5", -5e-5), ("batch_size", "auto", 32), ("batch_size", "4", 4),
        ("device", "CUDA:1", "cuda:1"), ("template", "", ""), ("seed", str(2**63 - 1), 2**63 - 1),
        ("offline", True, True), ("check", "yes", True),
    ],
)  # fmt: skip
def test_good_values_are_read(project: Path, name: str, typed: object, value: object) -> None:
    assert getattr(resolve("detect", {name: typed}, start=project), name) == value


def test_a_setting_nobody_declared_is_a_defect(project: Path) -> None:
    with pytest.raises(TypeError, match="color"):
        resolve("detect", {"color": "red"}, start=project)


def test_no_file_is_no_file(project: Path) -> None:
    assert find_settings_file(project) is None


def test_a_guess_must_be_near() -> None:
    assert suggestion("modle", ["model", "mode"]) == "did you mean mode or model?"
    assert suggestion("gpu", ["cpu", "cuda"]) == ""


def test_a_tilde_without_a_home_is_a_bad_value(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "expanduser", fail)
    with pytest.raises(UsageError, match="cache_dir must be a folder without ~"):
        resolve("detect", {"cache_dir": "~/x"}, start=project)


def test_a_deleted_working_directory_has_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", fail)
    assert resolve("detect", {}) == DetectOptions()


def test_an_empty_model_is_said_once(project: Path) -> None:
    with pytest.raises(UsageError, match="model must be a name or a path, not ''"):
        resolve("detect", {"model": ""}, start=project)


@pytest.mark.parametrize("typed", ["0/4", "5/4", "4", "1/0", "-1/4", "a/b", 3])
def test_a_shard_counts_from_one_to_their_number(project: Path, typed: object) -> None:
    assert resolve("detect", {"shard": " 2/4 "}, start=project).shard == (2, 4)
    with pytest.raises(UsageError, match="shard must be I/N with I from 1 to N"):
        resolve("detect", {"shard": typed}, start=project)


def test_names_come_alone_or_several(project: Path) -> None:
    assert resolve("detect", {"input": ["a.jsonl", "b.tar"]}, start=project).input == ("a.jsonl", "b.tar")
    assert resolve("detect", {"input": "a.jsonl"}, start=project).input == ("a.jsonl",)


def test_a_format_that_the_command_does_not_have_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="format must be table or json, not 'csv'"):
        resolve("eval", {"format": "csv"}, start=project)


def test_a_format_that_was_not_typed_is_blamed_on_where_it_came_from(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(project / "clipalign.toml", 'format = "html"')
    with pytest.raises(SettingsError, match="format must be table or json, not 'html'") as caught:
        resolve("download", {}, start=project)
    assert caught.value.input == f"{path}: format"
    monkeypatch.setenv("CLIPALIGN_FORMAT", "jsonl")
    with pytest.raises(SettingsError) as caught:
        resolve("eval", {}, start=project)
    assert caught.value.input == "CLIPALIGN_FORMAT"


@pytest.mark.parametrize(("name", "good", "bad"), [("alpha", "0.5", "0.95"), ("timeout", "1", "0")])
def test_numbers_have_bounds(project: Path, name: str, good: str, bad: str) -> None:
    assert getattr(resolve("classify", {name: good}, start=project), name) == float(good)
    with pytest.raises(UsageError):
        resolve("classify", {name: bad}, start=project)


def test_the_default_model_of_long_texts_is_another(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("score-long", {}, start=project).model == "specs"
    assert resolve("score-long", {"model": "pictogram-long"}, start=project).model == "pictogram-long"
    monkeypatch.setenv("CLIPALIGN_MODEL", "longclip-B")
    assert resolve("score-long", {}, start=project).model == "longclip-B"


def test_a_variable_that_sets_nothing_is_told_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLIPALIGN_MODLE", "CLIPALIGN_NOBODY", "CLIPALIGN_CACHE", "CLIPALIGN_BATCH_SIZE"):
        monkeypatch.setenv(name, "1")
    assert unknown_variables(settings_tables) == [
        "the variable CLIPALIGN_MODLE sets nothing; did you mean MODE or MODEL?",
        "the variable CLIPALIGN_NOBODY sets nothing",
    ]


@pytest.mark.parametrize(("command", "name", "setting"), EVERY, ids=[f"{command} {name}" for command, name, _ in EVERY])
def test_a_default_is_one_that_the_command_s_reader_takes(command: str, name: str, setting: Setting) -> None:
    default = getattr(resolve(command, {}), name)
    assert setting.read is not None
    assert default in (None, 0) or setting.read(default) == default


def test_texts_are_cut_as_the_settings_say() -> None:
    assert declared(LongSettings)["by"].choices == tuple(Cut)


def test_what_a_program_passes_is_read_and_checked_as_a_flag_is() -> None:
    assert DetectSettings(epsilon=0).epsilon == 0.0
    with pytest.raises(UsageError, match="layers must be a whole number, 1 or more, not 0"):
        DetectSettings(layers=0)
    with pytest.raises(UsageError, match=r"alpha must be a number from 0 to 0\.9, not 1\.0"):
        replace(ClassifySettings(), alpha=1.0)


@dataclass(frozen=True, kw_only=True)
class Owner(CommandSettings):
    """A command of one setting."""

    panel = "Scoring"

    size: Annotated[int, Setting("Size in pixels.", whole(1, 9), value="N")] = 7


@dataclass(frozen=True, kw_only=True)
class Other(CommandSettings):
    """A command that has the same setting, with a default of its own."""

    size: Annotated[int | None, SameAs(Owner)] = None


def test_one_declaration_is_all_that_a_setting_takes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tables() -> Tables:
        return {"one": declared(Owner), "two": declared(Other)}

    def found(**flags: object) -> int | None:
        return config.resolve(Other, flags, command="two", tables=tables, start=project).size

    setting = declared(Other)["size"]
    assert (setting.flag, setting.default, setting.panel) == ("--size", "7", "Scoring")
    assert found() is None
    write(project / "clipalign.toml", "size = 3")
    assert found() == 3
    monkeypatch.setenv("CLIPALIGN_SIZE", "4")
    assert found() == 4
    assert found(size="5") == 5
    with pytest.raises(UsageError, match="size must be a whole number, 1 to 9, not '10'"):
        found(size="10")
