"""The page: nothing in a record is ever more than text; nothing outside the page is ever asked for."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from clipalign.output import html as module
from clipalign.output.console import visible
from clipalign.output.detect import DetectFormatter
from clipalign.output.html import HtmlWriter, Rect, Scale, card_of, data_url, signed_bar
from clipalign.output.records import Entry, EntryList, Record, Tally, pieces_of
from clipalign.plain import plain
from tests.records import HOSTILE, asked, finished
from tests.results import COKE, PROVENANCE, result_of

FORMATTER = DetectFormatter()
ANYTHING = st.text(st.characters() | st.sampled_from("<>&\"'`=/\0\u202e\ud800 \n-!"))
TEMPLATES = Path(module.__file__).parent / "templates"
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
    record: Record = result.to_dict()
    return record


def page_of(*entries: Entry, **provenance: Any) -> str:
    tally = Tally(FORMATTER)
    for entry in entries:
        tally.add(entry.record)
    origin = plain(asdict(PROVENANCE) | provenance)
    pieces = HtmlWriter().document(FORMATTER, EntryList(entries), summary=tally.summary(), provenance=origin)
    return b"".join(pieces).decode("utf-8")


def shown(template: str, **values: Any) -> str:
    """A template of a test's own, as the page's are filled in."""
    return module._environment().from_string(template).render(**values)


def shown_text(text: str) -> str:
    """The text with what is hidden written out; lines stay lines."""
    return "\n".join(map(visible, text.split("\n")))


@given(ANYTHING)
def test_text_stays_text(text: str) -> None:
    read = Reader(shown("<p>{{ text }}</p>", text=text))
    assert (read.elements, read.other) == ([("p", {})], [])
    assert "".join(read.texts) == shown_text(text)


@given(ANYTHING)
def test_attribute_values_stay_values(text: str) -> None:
    read = Reader(shown('<p title="{{ text }}" class="x">', text=text))
    assert read.elements == [("p", {"title": shown_text(text), "class": "x"})]


@given(ANYTHING)
def test_escaping_leaves_no_sign_of_html(text: str) -> None:
    escaped = shown("{{ text }}", text=text)
    assert not set(escaped) & set("<>\"'\0")
    assert re.sub(r"&(amp|lt|gt|#34|#39);", "", escaped).count("&") == 0


def test_a_name_that_a_template_does_not_have_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        shown("{{ recrod }}")


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_templates_escape_everything_and_quote_every_attribute(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|Markup", text)
    assert not re.search(r"=\s*{{", text)  # an attribute without quotes
    assert not re.search(r"\s(on\w+|style)\s*=", text)
    addresses = set(re.findall(r"\s(?:src|href)=\"([^\"]*)\"", text))
    places = {"#unreadable", "#scale", "#seen-{{ card.number }}", "#heat-{{ card.number }}-{{ map.place }}"}
    assert addresses <= {"{{ card.thumbnail }}", *places}


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a.png", "data:text/html;base64,AA==", "javascript:alert(1)", "//example.org",
        "data:image/svg+xml;base64,AA==", 'data:image/png;base64,AA=="x',
    ],
)  # fmt: skip
def test_a_thumbnail_that_is_no_picture_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="a picture as a data: URL"):
        card_of(FORMATTER, Entry(record_of(COKE), thumbnail=address), Scale(), 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANYTHING.filter(lambda text: text.split() != []), min_size=1, max_size=3), ANYTHING)
def test_no_record_adds_an_element_to_the_page(texts: list[str], name: str) -> None:
    def entries(texts: list[str], name: str) -> list[Entry]:
        results = [result_of(text, *[-1e-3] * len(text.split())) for text in texts]
        scored = [Entry(record_of(replace(one, id=name, image=name, warnings=(name,)))) for one in results]
        error = finished(asked(4, name)).answer.to_dict()
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
        assert shown_text(plain({"x": text})["x"]) in said
    assert page.count("<script") == 1
    assert not re.search("[\0\u202e\x07]", page)


def test_the_page_asks_nobody_for_anything() -> None:
    page = page_of(Entry(record_of(COKE), thumbnail=data_url(PICTURE)))
    read = Reader(page)
    for _, attributes in read.elements:
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style"
            assert name not in ("src", "href") or str(value).startswith(("data:image/", "#"))
    assert "http://" not in page and "https://" not in page and "@import" not in page and "url(" not in page


def test_the_policy_allows_our_own_script_and_style_and_nothing_else() -> None:
    page = page_of(*2 * [Entry(record_of(COKE))])
    policy = next(a["content"] for _, a in Reader(page).elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    for element, rule in (("script", "script-src"), ("style", "style-src")):
        content = re.search(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert content
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}


def test_a_single_result_has_no_dashboard_and_no_script() -> None:
    page = page_of(Entry(record_of(COKE)))
    names = {element for element, _ in Reader(page).elements}
    assert not names & {"nav", "input", "select", "script"}
    assert 'class="counts"' not in page and 'class="frequent"' not in page
    assert "script-src 'none'" in page
    assert "model and settings: ViT-H-14" in page and "-0.000444" in page


def test_the_worst_come_first_and_errors_last() -> None:
    worse = replace(COKE, id="worse", f_clip_score=-0.5)
    fits = replace(result_of("a cup", 1e-4, 1e-4), id="fits", clip_score=0.9)
    barely = replace(fits, id="barely", clip_score=0.1)
    error = finished(asked(4)).answer.to_dict()
    entries = [Entry(error), *(Entry(record_of(one)) for one in (fits, COKE, barely, worse))]
    page = page_of(*entries)
    assert re.findall(r'class="id" dir="auto">([^<]*)<', page) == ["worse", "cup.jpg", "barely", "fits", "5"]
    assert re.findall(r'class="card (\w+)"', page) == ["found", "found", "fine", "fine", "error"]
    assert 'href="#unreadable"' in page and 'id="unreadable"' in page


def test_misaligned_words_are_marked_by_more_than_color() -> None:
    page = page_of(Entry(record_of(COKE)))
    assert '<p class="caption" dir="auto">a cup of <mark title="misaligned">coke</mark></p>' in page
    assert "✗ misaligned: coke" in page
    assert "-0.000444" in page


def test_a_page_without_script_shows_everything() -> None:
    page = page_of(*2 * [Entry(record_of(COKE))])
    hidden = [attributes.get("id") for _, attributes in Reader(page).elements if "hidden" in attributes]
    assert hidden == ["scripted"]


def test_the_thumbnail_is_in_the_page() -> None:
    page = page_of(Entry(record_of(COKE), thumbnail=data_url(PICTURE)))
    assert f'src="data:image/webp;base64,{base64.b64encode(PICTURE).decode()}"' in page
    assert 'loading="lazy"' in page
    assert data_url(b"\xff\xd8\xff\xe0").startswith("data:image/jpeg;")
    assert data_url(None) == ""
    assert "no picture" in page_of(Entry(record_of(COKE)))


def many(count: int) -> list[Entry]:
    return [
        Entry(record_of(replace(COKE, id=str(n), f_clip_score=-float(n))), thumbnail=data_url(PICTURE))
        for n in range(count)
    ]


def test_pages_that_grow_too_large_say_what_they_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = many(30)
    monkeypatch.setattr(module, "MAX_CARDS", 10)
    monkeypatch.setattr(module, "MAX_PICTURE_CHARACTERS", 4 * len(entries[0].thumbnail))
    page = page_of(*entries)
    assert "The worst 10 pairs are shown; 20 others are only counted." in page
    assert "Only the first 4 pairs have their picture" in page
    assert (page.count("<article"), page.count("<img")) == (10, 4)
    assert re.findall(r'class="id" dir="auto">([^<]*)<', page)[:2] == ["29", "28"]


def test_many_records_fold_into_batches_of_which_the_first_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(module, "MAX_PICTURE_CHARACTERS", 12 * len(many(1)[0].thumbnail))
    error = finished(asked(4)).answer.to_dict()
    page = page_of(*many(25), Entry(error))
    batches = re.findall(r'<details class="batch"( id="unreadable")?( open)?><summary>(.*?)</summary>', page)
    assert batches == [
        ("", " open", "1 to 10 of 25 pairs"),
        ("", "", "11 to 20 of 25 pairs"),
        ("", "", "21 to 25 of 25 pairs"),
        (' id="unreadable"', "", "1 pair unreadable"),
    ]
    assert [len(re.findall("<article", part)) for part in page.split('<details class="batch"')] == [0, 10, 10, 5, 1]
    assert page.count("<img") == 12
    assert 'class="batch"' not in page_of(*many(10))


def test_bars_lie_on_their_side_of_the_axis() -> None:
    assert signed_bar(-1.0, largest=2.0, wrong=True) == [Rect("wrong", 50.0, 1, 50.0, 8)]
    assert signed_bar(2.0, largest=2.0) == [Rect("plus", 100, 1, 100.0, 8)]
    assert signed_bar(-1e-9, largest=1.0) == signed_bar(None, largest=0.0) == []


def test_the_bars_of_a_page_share_one_scale_on_which_epsilon_is_drawn() -> None:
    strong, weak = result_of("a cup", 1e-3, -2e-4), result_of("a cup", 5e-4, 1e-4)
    page = page_of(*(Entry(record_of(one)) for one in (strong, weak)))
    bars = re.findall(r'<rect class="(plus|minus|wrong)" x="[\d.]+" y="1" width="([\d.]+)"', page)
    assert bars == [("plus", "100.0"), ("wrong", "20.0"), ("plus", "50.0"), ("plus", "10.0")]
    assert 'class="epsilon" x="94.5"' in page and page.count('id="scale"') == 1
    assert "Bars of all words are on one scale, ±0.00100; the line is epsilon, -5e-5." in page


def test_words_near_zero_fold_away_if_there_are_several() -> None:
    text = "a cup of hot coke"
    page = page_of(Entry(record_of(result_of(text, 1e-6, 2e-4, -2e-6, 3e-6, -4e-4))))
    folded = page[page.index("<summary>3 words near zero</summary>") :]
    assert re.findall(r'<th scope="row" dir="auto">(.*?)</th>', folded)[:3] == ["a", "of", "hot"]
    assert "near zero" not in page_of(Entry(record_of(result_of(text, 1e-6, 2e-4, -2e-6, 3e-4, -4e-4))))


def test_texts_about_one_picture_are_ranked_with_the_picture_once() -> None:
    from clipalign.output.score_long import ScoreLongFormatter
    from tests.unit.test_output_score_long import record

    entries = [Entry(record(score, id=str(n)), thumbnail=data_url(PICTURE)) for n, score in enumerate((0.5, 0.7, 0.6))]
    page = HtmlWriter().results(ScoreLongFormatter(), entries).decode()
    assert re.findall(r'class="id" dir="auto">([^<]*)<', page) == ["1", "2", "0"]
    assert page.count("<img") == 1
    assert "<nav" not in page and "<script" not in page


def test_marks_keep_the_text_whole() -> None:
    mark = {"start": 2, "end": 5}
    assert list(pieces_of("a <b> c", [mark])) == [("a ", None), ("<b>", mark), (" c", None)]
    assert list(pieces_of("ab", [])) == [("ab", None)]
