"""Classes described by a language model on a local server: what is sent, what comes back, and everything between."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipalign.data.classes import read_descriptions
from clipalign.download.describe import MOST_SENTENCES, Describer, describe_classes, read_answer
from clipalign.download.web import RetryPolicy
from clipalign.errors import DownloadFailed, UsageError
from tests.chat import Reply, chat_server, status, usual


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The server, and no key but what a test sets."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    with chat_server() as found:
        yield found


QUICK = RetryPolicy(attempts=4, connect_seconds=5.0, stall_seconds=5.0, first_pause_seconds=0.01)
GONE = Describer("http://127.0.0.1:9/v1", "llama", policy=replace(QUICK, attempts=2))


def describer(server: Any, **settings: Any) -> Describer:
    return Describer(server.url, "llama-3", **{"policy": QUICK, "at_once": 1, **settings})


def described(
    server: Any, folder: Path, names: tuple[str, ...] = ("cat", "dog"), *, key: str = "", **policy: Any
) -> Any:
    return describe_classes(names, describer(server, key=key, policy=replace(QUICK, **policy)), folder=folder)


class TestWhatIsSent:
    def test_one_question_a_class_with_its_name_and_nothing_else(self, server: Any, tmp_path: Path) -> None:
        found, _ = described(server, tmp_path)
        assert found == {name: (f"A {name} is big.", f"A {name} is loud.") for name in ("cat", "dog")}
        assert [path for path, _, _ in server.asked] == ["/v1/chat/completions"] * 2
        _, headers, body = server.asked[0]
        assert set(body) == {"model", "messages"} and body["model"] == "llama-3"
        assert "Authorization" not in headers and headers["User-Agent"].startswith("clipalign/")

    def test_the_key_of_the_environment_goes_along(
        self, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", " sk-123\n")
        describe_classes(["cat"], Describer.at(server.url, "llama-3"), folder=tmp_path)
        assert server.asked[0][1]["Authorization"] == "Bearer sk-123"

    def test_no_password_of_netrc_does(self, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        described(server, tmp_path / "kept", ("cat",))
        assert "Authorization" not in server.asked[0][1]

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    @pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
    def test_this_machine_is_asked_past_every_proxy(
        self, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, variable: str
    ) -> None:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with chat_server() as proxy:
            monkeypatch.setenv(variable, proxy.url.removesuffix("/v1"))
            server.url = server.url.replace("127.0.0.1", host)
            described(server, tmp_path, ("cat",), key="sk-123")
            assert not proxy.asked and server.asked[0][1]["Authorization"] == "Bearer sk-123"

    def test_a_redirect_is_not_followed(self, server: Any, tmp_path: Path) -> None:
        server.usual = status(302, Location=f"{server.url}/elsewhere")
        with pytest.raises(DownloadFailed, match="302") as caught:
            described(server, tmp_path, ("cat",), key="sk-123")
        assert "final address" in caught.value.hint and len(server.asked) == 1

    def test_a_whole_address_is_taken_as_it_is(self, server: Any, tmp_path: Path) -> None:
        server.url += "/chat/completions"
        described(server, tmp_path, ("cat",))
        assert server.asked[0][0] == "/v1/chat/completions"

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("localhost:8080", "not the address"),
            ("ftp://a/v1", "not the address"),
            ("http://", "not the address"),
            ("http://[", "not the address"),
            ("https://a/v1?key=1", "not the address"),
            ("https://me:secret@a/v1", "must not hold a name or password"),
        ],
    )
    def test_bad_addresses_are_refused(self, url: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            Describer.at(url, "llama")

    def test_a_key_never_travels_unencrypted_to_another_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-123")
        with pytest.raises(UsageError, match="unencrypted"):
            Describer.at("http://example.org/v1", "llama")
        for url in ("https://example.org/v1", "http://localhost:1/v1", "http://127.0.0.1/v1", "http://[::1]/v1"):
            assert Describer.at(url, "llama").key == "sk-123"
        monkeypatch.delenv("OPENAI_API_KEY")
        assert Describer.at("http://example.org/v1", "llama").key == ""


class TestWhatComesBack:
    @pytest.mark.parametrize(
        "text",
        [
            '["A cat.", "It purrs."]',
            'Sure:\n```json\n["A cat.",\n "It purrs."]\n```\nAnything else?',
            "1. A cat.\n2. It purrs.",
            "Here you are:\n- A cat.\n* It purrs.\n\nBye",
            '["A cat.", "A  cat.", " It\\npurrs. ", ""]',
        ],
    )
    def test_arrays_and_lists_are_read(self, text: str) -> None:
        assert read_answer(text) == ("A cat.", "It purrs.")

    def test_what_a_terminal_would_obey_is_dropped(self) -> None:
        assert read_answer('["A \\u001b[31mcat.\\u202e"]') == ("A [31mcat.",)

    def test_endless_lists_and_sentences_are_cut(self) -> None:
        assert len(read_answer(json.dumps([f"cat {n}" for n in range(500)]))) == MOST_SENTENCES
        assert read_answer(json.dumps(["cat " * 500, "a cat"])) == ("a cat",)

    @pytest.mark.parametrize(
        "reply",
        [
            lambda handler, name: handler.say("I cannot help with that."),
            lambda handler, name: handler.say("[1, 2]"),
            lambda handler, name: handler.say("[" * 100_000 + "]"),
            lambda handler, name: handler.send(200, b'{"choices": []}'),
            lambda handler, name: handler.send(200, b'{"choices": [{"message": {"content": null}}]}'),
            lambda handler, name: handler.send(200, b"<html>"),
            lambda handler, name: handler.send(200, b"[" * 2_000_000),
            status(500),
            status(429),
        ],
    )
    def test_what_is_no_answer_is_asked_for_again_and_then_given_up(
        self, server: Any, tmp_path: Path, reply: Reply
    ) -> None:
        server.replies = [reply]
        assert described(server, tmp_path, ("cat",))[0]["cat"]
        server.replies = [reply] * 9
        with pytest.raises(DownloadFailed, match="did not describe 'dog'"):
            described(server, tmp_path, ("dog",), attempts=3)
        assert len(server.asked) == 2 + 3

    @pytest.mark.parametrize(
        ("number", "hint"), [(401, "set OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "/v1"), (400, "model's name")]
    )
    def test_what_will_not_change_is_said_at_once(self, server: Any, tmp_path: Path, number: int, hint: str) -> None:
        server.usual = status(number)
        with pytest.raises(DownloadFailed, match=str(number)) as caught:
            described(server, tmp_path, ("cat",))
        assert hint in caught.value.hint and len(server.asked) == 1 and caught.value.exit_status == 4

    def test_a_server_that_stalls_or_is_not_there(self, server: Any, tmp_path: Path) -> None:
        server.usual = lambda handler, name: time.sleep(1)
        with pytest.raises(DownloadFailed, match="does not answer"):
            described(server, tmp_path, ("cat",), stall_seconds=0.1, attempts=2)
        with pytest.raises(DownloadFailed, match=r"no connection to 127\.0\.0\.1:9"):
            describe_classes(["cat"], GONE, folder=tmp_path)

    def test_a_server_that_drips_is_left(self, server: Any, tmp_path: Path) -> None:
        def drip(handler: Any, name: str) -> None:
            handler.send_response(200)
            handler.flush_headers()
            for _ in range(100):
                handler.wfile.write(b"X-Long: x\r\n")
                time.sleep(0.05)

        server.usual = drip
        with pytest.raises(DownloadFailed, match="does not answer"):
            described(server, tmp_path, ("cat",), stall_seconds=0.2, connect_seconds=0.2, attempts=1)

    def test_asking_again_is_told_once(self, tmp_path: Path) -> None:
        told: list[str] = []
        with pytest.raises(DownloadFailed):
            describe_classes(["cat", "dog"], GONE, folder=tmp_path, tell=told.append)
        assert told[0] == "asking llama at 127.0.0.1 about 2 classes"
        assert [line for line in told if "; trying again in " in line] == told[1:] and len(told) == 2


class TestWhatIsKept:
    def test_only_new_classes_are_asked_about(self, server: Any, tmp_path: Path) -> None:
        described(server, tmp_path)
        found, file = described(server, tmp_path, ("dog", "ant", "cat"))
        assert len(server.asked) == 3 and list(found) == ["dog", "ant", "cat"]
        assert set(read_descriptions(file)) == {"cat", "dog", "ant"}

    def test_another_model_or_address_has_a_file_of_its_own(self, server: Any, tmp_path: Path) -> None:
        one, two = Describer(server.url, "a/b"), Describer(server.url, "a/c")
        assert one.file_in(tmp_path) != two.file_in(tmp_path)
        assert one.file_in(tmp_path).parent == tmp_path
        assert Describer(server.url + "2", "a/b").file_in(tmp_path) != one.file_in(tmp_path)

    def test_a_failure_loses_nothing(self, server: Any, tmp_path: Path) -> None:
        server.replies = [usual, status(404)]
        with pytest.raises(DownloadFailed):
            described(server, tmp_path, ("cat", "dog", "ant"))
        found, _ = described(server, tmp_path, ("cat", "dog", "ant"))
        assert len(found) == 3 and len(server.asked) == 2 + 2

    def test_offline_what_is_kept_is_enough(self, server: Any, tmp_path: Path) -> None:
        described(server, tmp_path)
        assert describe_classes(["cat"], describer(server), folder=tmp_path, offline=True)[0]["cat"]
        with pytest.raises(UsageError, match=r"(?m)forbids asking .* about 1 class$"):
            describe_classes(["cat", "ant"], describer(server), folder=tmp_path, offline=True)
        assert len(server.asked) == 2

    def test_a_damaged_file_is_put_aside(self, server: Any, tmp_path: Path) -> None:
        _, file = described(server, tmp_path)
        file.write_text('{"cat": ')
        assert described(server, tmp_path)[0]["cat"] and len(server.asked) == 4
        assert file.with_suffix(".damaged").read_text() == '{"cat": '

    def test_a_damaged_file_that_cannot_be_put_aside_is_a_warning(
        self, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, file = described(server, tmp_path)
        file.write_text('{"cat": ')

        def refuse(*arguments: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(Path, "replace", refuse)
        assert described(server, tmp_path)[0]["cat"] and len(server.asked) == 4
        assert caplog.text.count("it cannot be put aside: Read-only file system") == 1
        assert file.read_text() == '{"cat": '

    def test_a_folder_that_cannot_be_written_is_a_warning(
        self, server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("")
        assert described(server, tmp_path / "file")[0]["cat"]
        assert "could not be kept" in caplog.text

    def test_several_are_asked_at_once_and_each_is_told(self, server: Any, tmp_path: Path) -> None:
        names = tuple(f"c{n}" for n in range(20))
        done: list[int] = []
        told: list[str] = []
        found, _ = describe_classes(
            names, describer(server, at_once=4), folder=tmp_path, tell=told.append, progress=done.append
        )
        assert tuple(found) == names and sum(done) == 20
        assert told == ["asking llama-3 at 127.0.0.1 about 20 classes"]
