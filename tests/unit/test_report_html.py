"""The page: nothing in a record is ever more than text; nothing outside the page is ever asked for."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipalign.output import documents as many
from clipalign.output.console import visible
from clipalign.output.detect import DetectView
from clipalign.output.documents import FewEntries
from clipalign.output.html import page as page_module
from clipalign.output.html.markup import Markup, escaped, joined, tag
from clipalign.output.html.parts import data_address, marked_text, signed_bar
from clipalign.output.json import plain
from clipalign.output.records import Entry, Record, Tally, error_record
from tests.records import HOSTILE, asked, finished
from tests.results import COKE, PROVENANCE, result_of

VIEW = DetectView()
ANYTHING = st.text(st.characters() | st.sampled_from("<>&\"'`=/\0\u202e\ud800 \n-!"))
PICTURE = b"RIFF\x00\x00\x00\x00WEBP"


class Reader(HTMLParser):
    """What a browser would make of a page: elements, attributes, text; comments and declarations apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.other: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_pi(self, data: str) -> None:
        self.other.append(data)

    def unknown_decl(self, data: str) -> None:
        self.other.append(data)


def record_of(result: Any) -> Record:
    return plain(VIEW.record(result))


def page_of(*entries: Entry, **provenance: Any) -> str:
    tally = Tally(VIEW)
    for entry in entries:
        tally.add(entry.record)
    origin = plain(asdict(PROVENANCE) | provenance)
    return b"".join(many.whole("html", VIEW, FewEntries(entries), summary=tally.summary(), provenance=origin)).decode(
        "utf-8"
    )


@given(ANYTHING)
def test_text_stays_text(text: str) -> None:
    read = Reader(tag("p", text))
    assert (read.elements, read.other) == ([("p", {})], [])
    assert "".join(read.texts) == visible(text)


@given(ANYTHING)
def test_attribute_values_stay_values(text: str) -> None:
    read = Reader(tag("p", attributes={"title": text, "class": "x"}))
    assert read.elements == [("p", {"title": visible(text), "class": "x"})]


@given(ANYTHING)
def test_escaping_leaves_no_sign_of_html(text: str) -> None:
    assert not set(escaped(text)) & set("<>\"'`=\0")
    assert re.sub(r"&(amp|lt|gt|quot|#39|#96|#61);", "", escaped(text)).count("&") == 0


def test_lines_are_kept_where_they_are_wanted() -> None:
    assert escaped("a\r\nb\tc\n", keep_lines=True) == "a\nb\\tc\n"
    assert escaped("a\nb") == "a\\nb"


def test_markup_is_not_escaped_twice_and_text_always_once() -> None:
    inner = tag("b", "<&>")
    assert tag("p", inner, "<i>") == "<p><b>&lt;&amp;&gt;</b>&lt;i&gt;</p>"
    assert joined("<", Markup("<br>")) == "&lt;<br>"


@pytest.mark.parametrize(
    "attributes",
    [
        {"onclick": "x"}, {"ONLOAD": "x"}, {"style": "x"}, {"a b": "x"}, {'a"': "x"}, {"": "x"},
        {"src": "https://example.org/a.png"}, {"src": "data:text/html;base64,AA=="}, {"href": "javascript:alert(1)"},
        {"src": "data:image/svg+xml;base64,AA=="}, {"src": 'data:image/png;base64,AA=="x'}, {"href": "//example.org"},
    ],
)  # fmt: skip
def test_attributes_that_act_are_refused(attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"attribute|may hold"):
        tag("p", attributes=attributes)


def test_element_names_are_ours() -> None:
    with pytest.raises(ValueError, match="no name of an element"):
        tag("p onclick=x")


@settings(max_examples=60, deadline=None)
@given(st.lists(ANYTHING.filter(lambda text: text.split() != []), min_size=1, max_size=3), ANYTHING)
def test_no_record_adds_an_element_to_the_page(texts: list[str], name: str) -> None:
    def entries(texts: list[str], name: str) -> list[Entry]:
        results = [result_of(text, *[-1e-3] * len(text.split())) for text in texts]
        scored = [Entry(record_of(replace(one, id=name, image=name, warnings=(name,)))) for one in results]
        error = plain(error_record(asked(4, name), finished(asked(4)).result))  # type: ignore[arg-type]
        error["error"] |= {"message": name or "x", "hint": name or "x"}
        return [*scored, Entry(error, name or "x", 3)]

    hostile = Reader(page_of(*entries(texts, name), model=name or "x", notes=[name]))
    harmless = [" ".join(["w"] * len(text.split())) for text in texts]
    tame = Reader(page_of(*entries(harmless, "x" if name else ""), model="x", notes=["x"]))
    assert hostile.other == tame.other

    def names(read: Reader) -> list[str]:
        return [element for element, _ in read.elements if element not in ("li", "b", "span")]

    assert names(hostile) == names(tame)
    assert {key for _, attributes in hostile.elements for key in attributes} == {
        key for _, attributes in tame.elements for key in attributes
    }


def test_hostile_captions_are_there_to_be_read() -> None:
    entries = [Entry(record_of(result_of(text, *[1e-4] * len(text.split()))), "pairs.jsonl", 1) for text in HOSTILE]
    page = page_of(*entries)
    said = "".join(Reader(page).texts)
    for text in HOSTILE:
        assert visible(plain({"x": text})["x"]) in said
    assert page.count("<script") == 1
    assert not re.search("[\0\u202e\x07]", page)


def test_the_page_asks_nobody_for_anything() -> None:
    page = page_of(Entry(record_of(COKE), thumbnail=data_address(PICTURE)))
    read = Reader(page)
    for _, attributes in read.elements:
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style"
            assert name not in ("src", "href") or str(value).startswith(("data:image/", "#"))
    assert "http://" not in page and "https://" not in page and "@import" not in page and "url(" not in page


def test_the_policy_allows_our_own_script_and_style_and_nothing_else() -> None:
    page = page_of(Entry(record_of(COKE)))
    policy = next(a["content"] for _, a in Reader(page).elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    for element, rule in (("script", "script-src"), ("style", "style-src")):
        content = re.search(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert content
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}


def test_the_worst_come_first_and_errors_last() -> None:
    worse = replace(COKE, id="worse", f_clip_score=-0.5)
    fits = replace(result_of("a cup", 1e-4, 1e-4), id="fits", clip_score=0.9)
    barely = replace(fits, id="barely", clip_score=0.1)
    error = plain(error_record(asked(4), finished(asked(4)).result))  # type: ignore[arg-type]
    entries = [Entry(error), *(Entry(record_of(one)) for one in (fits, COKE, barely, worse))]
    page = page_of(*entries)
    assert re.findall(r'class="id" dir="auto">([^<]*)<', page) == ["worse", "cup.jpg", "barely", "fits", "5"]
    assert re.findall(r'class="card (\w+)"', page) == ["found", "found", "fine", "fine", "error"]
    assert 'href="#unreadable"' in page and 'id="unreadable"' in page


def test_misaligned_words_are_marked_by_more_than_colour() -> None:
    page = page_of(Entry(record_of(COKE)))
    assert '<p class="caption" dir="auto">a cup of <mark title="misaligned">coke</mark></p>' in page
    assert "✗ misaligned: coke" in page
    assert "-0.000444" in page


def test_a_page_without_script_shows_everything() -> None:
    page = page_of(Entry(record_of(COKE)))
    hidden = [attributes.get("id") for _, attributes in Reader(page).elements if "hidden" in attributes]
    assert hidden == ["scripted"]


def test_the_thumbnail_is_in_the_page() -> None:
    page = page_of(Entry(record_of(COKE), thumbnail=data_address(PICTURE)))
    assert f'src="data:image/webp;base64,{base64.b64encode(PICTURE).decode()}"' in page
    assert 'loading="lazy"' in page
    assert data_address(b"\xff\xd8\xff\xe0").startswith("data:image/jpeg;")
    assert data_address(None) == ""
    assert "no picture" in page_of(Entry(record_of(COKE)))


def test_pages_that_grow_too_large_say_what_they_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        Entry(record_of(replace(COKE, id=str(n), f_clip_score=-float(n))), thumbnail=data_address(PICTURE))
        for n in range(30)
    ]
    monkeypatch.setattr(page_module, "LARGE", 20)
    assert "This page is large: 30 pairs." in page_of(*entries)
    monkeypatch.setattr(page_module, "MAX_CARDS", 10)
    monkeypatch.setattr(page_module, "MAX_PICTURE_CHARACTERS", 4 * len(entries[0].thumbnail))
    page = page_of(*entries)
    assert "The worst 10 pairs are shown; 20 others are only counted." in page
    assert "Only the first 4 pairs have their picture" in page
    assert (page.count("<article"), page.count("<img")) == (10, 4)
    assert re.findall(r'class="id" dir="auto">([^<]*)<', page)[:2] == ["29", "28"]


def test_bars_lie_on_their_side_of_the_axis() -> None:
    assert '<rect class="wrong" x="50.0" y="1" width="50.0" height="8"/>' in signed_bar(-1.0, largest=2.0, wrong=True)
    assert '<rect class="plus" x="100" y="1" width="100.0" height="8"/>' in signed_bar(2.0, largest=2.0)
    assert 'width="1.0"' in signed_bar(-1e-9, largest=1.0)
    assert 'width="0.0"' in signed_bar(None, largest=0.0)


def test_marks_keep_the_text_whole() -> None:
    assert marked_text("a <b> c", [(2, 5)]) == "a <mark>&lt;b&gt;</mark> c"
    assert marked_text("ab", []) == "ab"
