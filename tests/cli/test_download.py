"""``clipalign download`` as a user meets it: what it prints, where, and with which status it ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipalign.download.dataset_rows import DATASETS, DataFile, DatasetRow
from clipalign.download.web import RetryPolicy
from clipalign.models.registry import ROWS, WeightSource, find_model
from clipalign.models.weights import find_in_hub_cache
from tests.cli.run import GOLDEN, IMAGE, PROGRAM, ROOT, run_here
from tests.server import Server, cut, stall, status

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REPO, FILE = "timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors"


@pytest.fixture(autouse=True)
def home(home: Path, hub: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and a Hub on this machine; no waiting."""
    quick = {"attempts": 2, "first_pause_seconds": 0.0, "connect_seconds": 2.0, "stall_seconds": 2.0}
    original = RetryPolicy.__init__

    def impatient(self: RetryPolicy, **given: Any) -> None:
        original(self, **(quick | given))

    monkeypatch.setattr(RetryPolicy, "__init__", impatient)
    return home


@pytest.fixture
def tiny(server: Server, monkeypatch: pytest.MonkeyPatch) -> DatasetRow:
    """A data set of one file."""
    file = DataFile("a.json", url=server.put("/a.json", b"{}"), sha256=hashlib.sha256(b"{}").hexdigest(), size_bytes=2)
    row = DatasetRow("tiny", "a tiny one", "MIT", "free", "https://example.org/tiny", (file,))
    monkeypatch.setitem(DATASETS, "tiny", row)
    return row


class TestTheList:
    def test_names_everything_with_size_license_source_and_state(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = run_here(capsys, "download", "--format", "table").out.splitlines()
        assert "ViT-B-32                         605 MB  free               not here" in lines
        run = run_here(capsys, "download", "--format", "table", "-v")
        assert run.status == 0 and run.err.startswith("data sets and hashes are kept in ")
        lines = run.out.splitlines()
        about = f"      MIT · 127.0.0.1:{os.environ['HF_ENDPOINT'].rpartition(':')[2]}/{REPO}"
        assert any(line.startswith(about) for line in lines)
        assert "for detect, classify" in " ".join(run.out.split())
        assert any(line.startswith("pictogram ") and line.endswith("here, verified") for line in lines)
        assert any(line.startswith("imagenet ") and line.endswith("by hand") for line in lines)
        assert all(len(line) <= 80 for line in lines)

    def test_is_one_json_document(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        document = json.loads(run_here(capsys, "download", "--list", "--format", "json").out)
        by_name = {row["name"]: row for row in document["models"] + document["datasets"]}
        assert set(ROWS) | set(DATASETS) == set(by_name)
        assert by_name["pictogram"]["here"] and by_name["pictogram"]["verified"]
        assert by_name["cub"]["license_class"] == "non-commercial" and not by_name["cub"]["here"]
        assert by_name["foil"]["needs"] == ["coco-val2014"]
        assert by_name["cub"]["path"] == str(tmp_path / ".cache" / "clipalign" / "datasets" / "cub")

    @pytest.mark.parametrize(
        ("line", "hint"),
        [
            ("download cub --cache-dir there", "clipalign download cub --accept-license cub --cache-dir there"),
            (
                "eval --dataset cub --model pictogram --cache-dir=there",
                "clipalign download cub --accept-license cub --cache-dir there, or --data-root DIR",
            ),
            (
                "detect {image} cat --model MobileCLIP2-S0",
                "download MobileCLIP2-S0 --accept-license MobileCLIP2-S0;",
            ),
            ("detect {image} cat --cache-dir there", "clipalign download ViT-B-32 --cache-dir there;"),
            (
                "download imagenet --cache-dir there",
                "clipalign download imagenet --cache-dir there --from ILSVRC",
            ),
        ],
    )
    def test_hints_hold_the_whole_line(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, hint: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        run = run_here(capsys, *line.format(image=IMAGE).split())
        assert run.status == 4 and hint in run.err
        assert not (tmp_path / "there").exists()

    def test_may_be_of_some(self, capsys: pytest.CaptureFixture[str]) -> None:
        run = run_here(capsys, "download", "cub", "--list", "--format", "table")
        assert run.out.startswith("Data sets ") and "dtd" not in run.out

    def test_asks_no_network_and_loads_no_torch(self, server: Server) -> None:
        code = (
            "import sys; from clipalign.cli import main; main(['download', '--list']); sys.exit('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, timeout=120)
        assert done.returncode == 0 and server.asked == []


class TestFetching:
    def test_a_model_says_what_from_where_and_how_large(
        self, capsys: pytest.CaptureFixture[str], server: Server, tmp_path: Path
    ) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        run = run_here(capsys, "download", "ViT-B-32", "--format", "table")
        host = server.url.removeprefix("http://")
        assert run.err == f"fetching ViT-B-32: {FILE}, 102 kB, from {host}/{REPO}\n"
        place = find_in_hub_cache(REPO, FILE)
        assert run.out == f"ViT-B-32: fetched, 102 kB, verified, {place}\n" and run.status == 0
        again = run_here(capsys, "download", "ViT-B-32", "--format", "table")
        assert (again.out, again.err) == (f"ViT-B-32: here already, 102 kB, verified, {place}\n", "")
        assert "here, verified" in run_here(capsys, "download", "--list", "ViT-B-32", "--format", "table").out

    def test_as_json(self, capsys: pytest.CaptureFixture[str], tiny: DatasetRow) -> None:
        run = run_here(capsys, "download", "tiny", "--format", "json")
        (result,) = json.loads(run.out)["results"]
        assert (result["name"], result["state"], result["verified"]) == ("tiny", "fetched", True)
        assert result["files"][0]["size_bytes"] == 2 and "fetching tiny" in run.err

    def test_quietly(self, capsys: pytest.CaptureFixture[str], tiny: DatasetRow) -> None:
        assert run_here(capsys, "download", "tiny", "-q").err == ""

    def test_one_failure_does_not_stop_the_others(
        self, capsys: pytest.CaptureFixture[str], tiny: DatasetRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = run_here(capsys, "download", "ViT-B-32", "tiny", "--format", "table")
        assert run.status == 4
        assert run.out.startswith("tiny: fetched, 2 bytes, verified, ")
        assert "warning: ViT-B-32: " in run.err and run.err.splitlines()[-2].startswith("error: ")

    def test_a_failure_leaves_stdout_empty_and_one_object(
        self, capsys: pytest.CaptureFixture[str], tiny: DatasetRow
    ) -> None:
        run = run_here(capsys, "download", "ViT-B-16", "tiny", "--format", "json")
        error = json.loads(run.err)["error"]
        assert (run.status, run.out, error["code"], error["type"]) == (4, "", 4, "download_failed")

    def test_what_was_cut_is_resumed(self, capsys: pytest.CaptureFixture[str], server: Server) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        server.next(f"/cdn/{SHA256}", cut(1000), *[cut(0)] * 2)
        run = run_here(capsys, "download", "ViT-B-32@openai")
        assert run.status == 4 and "2 times in a row" in run.err
        run = run_here(capsys, "download", "ViT-B-32@openai", "--format", "json")
        assert json.loads(run.out)["results"][0]["files"][0]["resumed_bytes"] == 1000
        assert "bytes=1000-" in server.seen("range")

    def test_a_tag_of_open_clip(self, capsys: pytest.CaptureFixture[str], server: Server) -> None:
        repo = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
        server.put_in_hub(repo, FILE, CONTENT)
        run = run_here(capsys, "download", "ViT-L-14@datacomp_xl_s13b_b90k", "--format", "table")
        assert run.status == 0, run.err
        assert run.out.startswith("ViT-L-14@datacomp_xl_s13b_b90k: fetched, ")
        assert find_in_hub_cache(repo, FILE) is not None
        run = run_here(capsys, "download", "--remove", "ViT-L-14@datacomp_xl_s13b_b90k", "--format", "table")
        assert "removed, 102 kB freed" in run.out and find_in_hub_cache(repo, FILE) is None

    def test_offline_is_refused_but_what_is_here_is_fine(
        self, capsys: pytest.CaptureFixture[str], server: Server, tiny: DatasetRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = run_here(capsys, "download", "tiny", "--offline")
        assert run.status == 4 and "--offline (or HF_HUB_OFFLINE) forbids" in run.err and server.asked == []
        assert "HF_HOME=carry/huggingface clipalign download tiny --cache-dir carry/clipalign;" in run.err
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert run_here(capsys, "download", "tiny").status == 4
        assert run_here(capsys, "download", "tiny", "--no-offline").status == 0
        assert run_here(capsys, "download", "tiny").status == 0
        assert run_here(capsys, "download", "pictogram").status == 0

    def test_offline_holds_for_the_rest_of_what_was_handed_over_in_part(
        self,
        capsys: pytest.CaptureFixture[str],
        server: Server,
        tiny: DatasetRow,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        other = replace(tiny.files[0], path="b.json")
        monkeypatch.setitem(DATASETS, "tiny", replace(tiny, files=(*tiny.files, other)))
        (tmp_path / "a.json").write_bytes(b"{}")
        run = run_here(capsys, "download", "tiny", "--offline", "--from", str(tmp_path / "a.json"))
        assert run.status == 4 and "is not asked, because --offline (or HF_HUB_OFFLINE) forbids it" in run.err
        assert server.asked == []
        assert (
            run_here(capsys, "download", "tiny", "--verify", "--format", "table").out == "tiny: a part of it is here\n"
        )

    def test_without_a_network_the_line_for_another_machine_is_said(
        self, capsys: pytest.CaptureFixture[str], tiny: DatasetRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        away = replace(tiny.files[0], url="https://nowhere.invalid/a.json")
        monkeypatch.setitem(DATASETS, "tiny", replace(tiny, license_class="none stated", files=(away,)))
        run = run_here(capsys, "download", "tiny", "--accept-license", "tiny")
        line = "clipalign download tiny --cache-dir carry/clipalign --accept-license tiny;"
        assert run.status == 4 and f"HF_HOME=carry/huggingface {line}" in run.err

    def test_what_another_needs_comes_first(
        self, capsys: pytest.CaptureFixture[str], server: Server, tiny: DatasetRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(DATASETS, "more", replace(tiny, name="more", needs=("tiny",)))
        run = run_here(capsys, "download", "more", "--format", "json")
        assert [result["name"] for result in json.loads(run.out)["results"]] == ["tiny", "more"]

    def test_what_was_unpacked_by_hand_is_asked_for_no_license_and_no_network(
        self, capsys: pytest.CaptureFixture[str], server: Server, tmp_path: Path
    ) -> None:
        place = tmp_path / "cache" / "datasets" / "cub" / "CUB_200_2011"
        place.mkdir(parents=True)
        line = ("download", "cub", "--cache-dir", str(tmp_path / "cache"), "--offline", "--format", "table")
        assert run_here(capsys, *line, "--dry-run").out == "cub: nothing: it is here\n"
        run = run_here(capsys, *line)
        assert (run.status, run.out) == (0, f"cub: here already, -, no hash is known for all of it, {place}\n")

    def test_after_ctrl_c_the_line_to_go_on_with_is_the_one_that_was_typed(
        self,
        capsys: pytest.CaptureFixture[str],
        tiny: DatasetRow,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        def interrupted(*arguments: Any, **more: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("clipalign.download.named.fetch_dataset", interrupted)
        given, cache = tmp_path / "a file.json", tmp_path / "my cache"
        options = ("--accept-license", "tiny", "--cache-dir", str(cache))
        run = run_here(capsys, "download", "tiny", *options, "--from", str(given))
        line = f"clipalign download tiny --from '{given}' --accept-license tiny --cache-dir '{cache}'"
        assert run.status == 130 and run.err.endswith(f"hint: what has come is kept; go on with: {line}\n")
        assert run_here(capsys, "download", "tiny").err.endswith("go on with: clipalign download tiny\n")


class TestLicenses:
    def test_that_are_not_free_are_asked_for(
        self, capsys: pytest.CaptureFixture[str], server: Server, tiny: DatasetRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = replace(tiny, license="CC-BY-NC-4.0", license_class="non-commercial")
        monkeypatch.setitem(DATASETS, "tiny", row)
        run = run_here(capsys, "download", "tiny")
        assert run.status == 4 and server.asked == []
        assert "error: tiny is not for commercial use (CC-BY-NC-4.0); see https://example.org/tiny" in run.err
        assert run.err.endswith("hint: clipalign download tiny --accept-license tiny\n")
        assert run_here(capsys, "download", "tiny", "--accept-license", "cub").status == 4
        assert run_here(capsys, "download", "tiny", "--accept-license", "tiny").status == 0

    def test_of_what_is_fetched_by_hand_are_not_asked_twice(self, capsys: pytest.CaptureFixture[str]) -> None:
        run = run_here(capsys, "download", "imagenet")
        assert run.status == 4 and "has to be fetched by hand" in run.err
        assert "register at https://image-net.org" in run.err
        assert "--from ILSVRC2012_img_val.tar --from ILSVRC2012_devkit_t12.tar.gz" in run.err

    def test_plans_tell_them(self, capsys: pytest.CaptureFixture[str], server: Server) -> None:
        run = run_here(capsys, "download", "cub", "ViT-B-32", "foil", "--dry-run", "--format", "json")
        plans = {plan["name"]: plan for plan in json.loads(run.out)["results"]}
        assert plans["cub"]["would"] == "license not accepted" and "--accept-license cub" in plans["cub"]["hint"]
        assert plans["ViT-B-32"]["would"] == "fetch" and plans["foil"]["would"] == "by hand"
        assert list(plans) == ["cub", "ViT-B-32", "coco-val2014", "foil"]
        assert server.asked == [] and run.status == 0


class TestUsage:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (("--remove",), "--remove needs a name"),
            (("cub", "--remove", "--verify"), "--verify and --remove exclude each other"),
            (("--from", "x.tar"), "--from needs the name of one data set"),
            (("cub", "dtd", "--from", "x.tar"), "--from needs the name of one data set"),
            (("ViT-B-32", "--from", "x.pt"), "--from is for data sets"),
            (("cub", "--from", "nowhere.tar"), "there is no file nowhere.tar"),
            (("ViT-B-33",), "unknown model 'ViT-B-33'"),
            (("tiny-imagnet",), "unknown"),
            (("pictogram-foil",), "is generated where it is used"),
            (("--format", "csv"), "--format must be table or json, not 'csv'"),
            (("--remove", "pictogram"), "is part of clipalign"),
        ],
    )
    def test_mistakes_are_sentences(self, capsys: pytest.CaptureFixture[str], line: tuple[str, ...], said: str) -> None:
        run = run_here(capsys, "download", *line)
        assert run.status == 2 and said in run.err and run.out == ""

    def test_one_unknown_name_fetches_nothing(
        self, capsys: pytest.CaptureFixture[str], server: Server, tiny: DatasetRow
    ) -> None:
        assert run_here(capsys, "download", "tiny", "ViT-B-33").status == 2
        assert server.asked == []


class TestAfterwards:
    def test_verify_reads_everything(
        self, capsys: pytest.CaptureFixture[str], server: Server, tiny: DatasetRow, tmp_path: Path
    ) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        run_here(capsys, "download", "ViT-B-32", "tiny")
        run = run_here(capsys, "download", "--verify", "--format", "table")
        assert run.status == 0
        assert {"ViT-B-32: verified", "tiny: verified", "pictogram: verified"} <= set(run.out.splitlines())
        place = find_in_hub_cache(REPO, FILE)
        assert place is not None
        place.resolve().write_bytes(CONTENT[::-1])
        run = run_here(capsys, "download", "--verify", "ViT-B-32", "--format", "table")
        assert run.status == 4 and "ViT-B-32: damaged" in run.out and SHA256 in run.err
        assert "clipalign download --remove ViT-B-32" in run.err
        assert run_here(capsys, "download", "--remove", "ViT-B-32").status == 0
        run = run_here(capsys, "download", "--verify", "ViT-B-32", "pictogram", "--format", "table")
        assert run.status == 4 and run.out.splitlines() == ["ViT-B-32: not here", "pictogram: verified"]
        assert "hint: clipalign download ViT-B-32" in run.err
        assert run_here(capsys, "download", "ViT-B-32").status == 0

    def test_remove_says_what_it_freed(self, capsys: pytest.CaptureFixture[str], tiny: DatasetRow) -> None:
        run_here(capsys, "download", "tiny")
        run = run_here(capsys, "download", "--remove", "tiny", "--format", "json")
        (result,) = json.loads(run.out)["results"]
        assert result["state"] == "removed" and result["freed_bytes"] > 2
        run = run_here(capsys, "download", "--remove", "tiny", "--format", "table")
        assert run.out == "tiny: was not here\n"


class TestMissingWeights:
    """Of other commands."""

    @pytest.fixture(autouse=True)
    def tiny_model(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        weights = (GOLDEN / "tiny-clip.safetensors").read_bytes()
        server.put_in_hub("o/tiny", FILE, weights)
        row = replace(
            find_model(f"{GOLDEN / 'tiny-clip.json'}@{GOLDEN / 'tiny-clip.safetensors'}"),
            name="tiny-model",
            license="MIT",
            weights=(WeightSource("hub", repo="o/tiny", file=FILE),),
        )
        monkeypatch.setitem(ROWS, "tiny-model", row)

    def test_are_named_with_the_line_that_fetches_them(
        self, capsys: pytest.CaptureFixture[str], server: Server
    ) -> None:
        run = run_here(capsys, "detect", IMAGE, "a cat", "--model", "tiny-model")
        assert run.status == 4 and run.out == "" and server.asked == []
        assert "hint: clipalign download tiny-model" in run.err

    def test_are_fetched_where_the_user_says_so(self, capsys: pytest.CaptureFixture[str], server: Server) -> None:
        run = run_here(capsys, "detect", IMAGE, "a cat", "--model", "tiny-model", "--download", "--format", "table")
        assert run.status == 0, run.err
        assert f"fetching tiny-model: {FILE}, " in run.err
        asked = len(server.asked)
        assert run_here(capsys, "detect", IMAGE, "a cat", "--model", "tiny-model").status == 0
        assert len(server.asked) == asked

    def test_are_fetched_on_a_terminal(
        self, capsys: pytest.CaptureFixture[str], server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clipalign.commands.common._stderr_is_terminal", lambda: True)
        assert run_here(capsys, "detect", IMAGE, "a", "--model", "tiny-model", "--no-download").status == 4
        assert run_here(capsys, "detect", IMAGE, "a", "--model", "tiny-model", "--offline").status == 4
        assert server.asked == []
        assert run_here(capsys, "detect", IMAGE, "a cat", "--model", "tiny-model").status == 0

    def test_with_a_license_that_is_not_free_ask_for_it(
        self, capsys: pytest.CaptureFixture[str], server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(ROWS, "tiny-model", replace(ROWS["tiny-model"], license="CC-BY-NC-4.0"))
        line = ("detect", IMAGE, "a cat", "--model", "tiny-model", "--download")
        run = run_here(capsys, *line)
        assert run.status == 4 and "--accept-license tiny-model" in run.err and server.asked == []
        assert run_here(capsys, *line, "--accept-license", "tiny-model").status == 0

    def test_of_a_tag_too(self, capsys: pytest.CaptureFixture[str], server: Server) -> None:
        run = run_here(capsys, "detect", IMAGE, "a cat", "--model", "ViT-L-14@datacomp_xl_s13b_b90k")
        assert run.status == 4 and server.asked == []
        assert "hint: clipalign download ViT-L-14@datacomp_xl_s13b_b90k" in run.err


def started(server: Server, tmp_path: Path, *names: str) -> subprocess.Popen[str]:
    environment = {"HF_ENDPOINT": server.url, "HF_HUB_CACHE": str(tmp_path / "hub"), "HOME": str(tmp_path)}
    return subprocess.Popen(
        [*PROGRAM, "download", *names, "--format", "table"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | environment,
    )  # fmt: skip


def until_part(tmp_path: Path, size: int) -> Path:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        for part in tmp_path.rglob("*.part"):
            if part.stat().st_size == size:
                return part
        time.sleep(0.02)
    raise AssertionError("no part came")


def test_ctrl_c_keeps_what_has_come_and_says_how_to_go_on(server: Server, tmp_path: Path) -> None:
    server.put_in_hub(REPO, FILE, CONTENT)
    server.next(f"/cdn/{SHA256}", stall(50_000, 60))
    process = started(server, tmp_path, "ViT-B-32")
    part = until_part(tmp_path, 50_000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-2:] == [
        "error: interrupted",
        "hint: what has come is kept; go on with: clipalign download ViT-B-32",
    ]
    assert part.stat().st_size == 50_000
    process = started(server, tmp_path, "ViT-B-32")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "fetched" in out, err
    assert "bytes=50000-" in server.seen("range")


def test_killed_in_the_middle_it_goes_on(server: Server, tmp_path: Path) -> None:
    server.put_in_hub(REPO, FILE, CONTENT)
    server.next(f"/cdn/{SHA256}", stall(50_000, 60))
    process = started(server, tmp_path, "ViT-B-32")
    until_part(tmp_path, 50_000)
    process.kill()
    process.communicate()
    process = started(server, tmp_path, "ViT-B-32")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "verified" in out, err
    assert "bytes=50000-" in server.seen("range")


def test_a_server_in_trouble_is_told(capsys: pytest.CaptureFixture[str], server: Server) -> None:
    server.put_in_hub(REPO, FILE, CONTENT)
    server.next(f"/{REPO}/resolve/main/{FILE}", status(503))
    run = run_here(capsys, "download", "ViT-B-32")
    assert run.status == 0 and "has a temporary problem (503); trying again in 0 s" in run.err
