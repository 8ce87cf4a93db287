"""A long text cut into sentences or phrases, each with its place in the text as given.

Only white space is between pieces, and the text up to a piece's end is the prefix that is scored. Rules and short lists
replace a trained splitter: captions are plain prose, and cuts must be neither inside abbreviations, initials, decimals,
quoted signs and numbered lists, nor missing in scripts without spaces. The lists are English; other languages use
punctuation alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

import regex  # type: ignore[import-untyped, unused-ignore]


class Cut(StrEnum):
    SENTENCE = "sentence"
    PHRASE = "phrase"


class Piece(NamedTuple):
    """A sentence or phrase and its characters in the text as given."""

    text: str
    start: int
    end: int


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


# Every repetition below is possessive and begins where nothing of its kind stands before it: a text of nothing but
# periods, quotes or spaces must not cost the square of its length.
_CLOSERS: Final = r"""["'”’»›)\]}」』）】〉》］｝]*+"""
_STOP = regex.compile(
    rf"""
      (?P<western>(?<![.!?…‼⁇⁈⁉])[.!?…‼⁇⁈⁉]++) {_CLOSERS} (?=\s)  # a stop counts before white space
    | (?P<joined>(?<=\p{{Ll}}{{2}})\.(?=\p{{Lu}}))                # or where that was forgotten: "the street.The dog"
    | (?P<other>[。！？｡．।॥؟۔։።፧།။៕]++) {_CLOSERS}               # in scripts without it, always
    | (?P<blank>\n[^\S\n]*+\n|[\f\u2029])                         # between paragraphs
    | (?P<item>\n)(?=[^\S\n]*+(?:[-*+•‣◦▪●–—·]|\(?(?:\d{{1,3}}|\p{{L}})[.)])\s)  # before an entry of a list
    """,
    regex.VERBOSE,
)
_NEXT_WORD = regex.compile(r"""[\s"'“‘«‹(\[「『（]*(?P<word>[\p{L}\p{N}][\p{L}\p{N}'’-]*)?""")
_LISTED = regex.compile(r"[-*+•‣◦▪●–—·(\s]*")
_INITIALS = regex.compile(r"(?:\p{L}\.)+\p{L}")
_HAS_WORD = regex.compile(r"[\p{L}\p{N}]")

_PAIRS: Final = {"(": ")", "[": "]", "“": "”", "«": "»", "「": "」", "『": "』", "《": "》", "（": "）", "【": "】"}
_LONGEST_ASIDE: Final = 200
"""Characters of a quotation or bracket that stays whole; a longer one is cut like any text."""

_LONGEST_WORD: Final = 60

_TITLES: Final = _words("mr mrs ms mx dr prof rev hon gen col capt lt sgt maj gov sen rep pres mme mlle fr")
_NEVER_LAST: Final = frozenset({"e.g", "i.e", "eg", "ie", "vs", "cf", "viz", "incl", "esp"})
_BEFORE_NUMBERS: Final = _words("no nos fig figs p pp vol ch sec eq art ver v c ca approx circa ref")
_MONTHS: Final = _words("jan feb apr aug sept sep oct nov dec")
_NAMES: Final = _words("st mt ft ave blvd rd inc ltd co corp bros jr sr dept univ est assn")
_USUALLY_LAST: Final = _words("etc a.m p.m al oz lb lbs cm mm km kg hr hrs min mins max")
"""Abbreviations by what follows them: a name, never a new sentence, a number, a day, either, usually a new sentence."""

_STARTERS: Final = _words(
    """the a an this that these those there here it its it's he she they we you i his her their our my your
    in on at to from by with behind above below beside between near under over inside outside next across along around
    another one two three four several many some most all both each every no not when while where as if for and but or
    so then also however although because after before during throughout overall additionally moreover furthermore
    meanwhile finally first second third lastly what who why how is are was were nearby beneath among despite"""
)
"""Words that begin a sentence and hardly ever a name."""

_QUOTING: Final = frozenset("とっの")
"""Continues a sentence after a closing quotation mark in Japanese."""

_CONNECTIVES: Final = (
    r"next\ to|in\ front\ of|on\ top\ of|to\ (?=(?:the|its|his|her|their|one|each)\b)|"
    "and|or|but|nor|while|whereas|although|though|because|that|which|who|whose|where|when|as|if|with|without|in|on|at|"
    "near|behind|beneath|under|underneath|above|below|beside|between|among|around|across|along|against|over|inside|"
    "outside|through|toward|towards|beyond|before|after|during|from|into|onto|by|featuring|including"
)
_JOINT = regex.compile(
    rf"""
      (?=\s)(?<!\s)(?<=[)]|[,;:]["'”’»\])]*+)\s++             # after a comma, semicolon, colon or bracket
    | (?<=[，、；：])\s*+
    | (?<=[\p{{L}}\p{{N}}"”’)])\s*+(?=[—–])                    # before a dash
    | (?=\s)(?<!\s)\s++(?=-{{1,2}}\s|[(]|(?:{_CONNECTIVES})\s)       # before a bracket or a connective
    """,
    regex.VERBOSE | regex.IGNORECASE,
)
_EMPTY_WORDS: Final = _words(
    """the a an its his her their our my your this these those and or but nor while whereas although though because that
    which who whose where when as if with without in on at near behind beneath under underneath above below beside
    between among around across along against over inside outside through toward towards beyond before after during from
    into onto by to of is are was were be being been it there also both some well just very"""
)
"""A phrase of these alone is joined to the next one."""

_SPELLED = regex.compile(r"[\p{L}\p{N}]+")


def split_text(text: str, by: Cut) -> list[Piece]:
    """Return the sentences or phrases of ``text``, in order; empty for white space only.

    ``text[piece.start : piece.end] == piece.text``, and all other characters are white space. Every piece has a letter
    or a digit, unless the whole text has none.
    """
    asides = _asides(text)
    sentences = _pieces(text, 0, len(text), list(_sentence_ends(text, asides)))
    if by is Cut.SENTENCE:
        return sentences
    return [phrase for sentence in sentences for phrase in _phrases(text, sentence, asides)]


def _pieces(text: str, begin: int, end: int, cuts: list[int]) -> list[Piece]:
    """Return the stripped text between cuts; a piece without letters and digits joins a neighbor."""
    spans: list[tuple[int, int]] = []
    waiting = -1  # first character of a stretch that joins the next one, having none before it
    for first, last in zip([begin, *cuts], [*cuts, end], strict=True):
        stretch = text[first:last]
        start, stop = first + len(stretch) - len(stretch.lstrip()), first + len(stretch.rstrip())
        if start >= stop:
            continue
        if not _HAS_WORD.search(stretch):
            if spans:
                spans[-1] = (spans[-1][0], stop)
            elif waiting < 0:
                waiting = start
            continue
        spans.append((start if waiting < 0 else waiting, stop))
        waiting = -1
    if waiting >= 0:
        spans.append((waiting, begin + len(text[begin:end].rstrip())))
    return [Piece(text[start:stop], start, stop) for start, stop in spans]


class _Asides(NamedTuple):
    """Spans of quotations and brackets that stay whole, in order and not nested."""

    starts: list[int]
    ends: list[int]

    def holds(self, position: int) -> bool:
        index = bisect_right(self.starts, position) - 1
        return index >= 0 and self.starts[index] < position < self.ends[index]


def _asides(text: str) -> _Asides:
    found = _Asides([], [])
    position = 0
    for opening in regex.finditer(r"""[(\[“«「『《（【]|(?<![^\s([{—–-])"(?=\S)""", text):
        start = opening.start()
        if start < position:
            continue
        window = text[start + 1 : start + _LONGEST_ASIDE].partition("\n\n")[0]
        mark = opening.group()
        if mark == '"':
            closing = regex.search(r'(?<=\S)"', window)
            end = closing.end() if closing else 0
        else:
            end = window.find(_PAIRS[mark]) + 1
        if end:
            position = start + 1 + end
            found.starts.append(start)
            found.ends.append(position)
    return found


def _sentence_ends(text: str, asides: _Asides) -> Iterator[int]:
    begin = 0
    for stop in _STOP.finditer(text):
        position = stop.end()
        if stop["blank"] or stop["item"] or (not asides.holds(position) and _ends(text, begin, stop)):
            begin = position
            yield position


def _ends(text: str, begin: int, stop: regex.Match[str]) -> bool:
    """Return whether the sentence from ``begin`` ends with this stop."""
    following = _NEXT_WORD.match(text, stop.end())["word"] or ""
    closed = stop.end() > max(stop.end(name) for name in ("western", "other", "joined"))
    if stop["other"]:
        after = text[stop.end() : stop.end() + 1]
        decimal = stop["other"] == "．" and after.isdigit()
        return not decimal and not (closed and after in _QUOTING)
    word = _word_before(text, begin, stop.start())
    if stop["joined"]:
        return following.lower() in _STARTERS and not regex.search(r"[/@]|www", word)
    if closed and following[:1].islower():  # "Stop!" he said
        return False
    marks = stop["western"]
    if not set("!?‼⁇⁈⁉").isdisjoint(marks):
        return True
    if marks != ".":  # an ellipsis
        return not following or not (following[0].islower() or following[0].isdigit())
    return _full_stop(text, begin, stop.start(), word, following)


def _full_stop(text: str, begin: int, position: int, word: str, following: str) -> bool:
    """Return whether a period after ``word`` ends a sentence, not an abbreviation or a number."""
    lowered, next_word = word.lower(), following.lower()
    capital, numeral = following[:1].isupper(), following[:1].isdigit()
    fresh = next_word in _STARTERS and capital
    line = max(begin, text.rfind("\n", begin, position) + 1)
    heads_a_line = _LISTED.match(text, line).end() >= position - len(word)
    if heads_a_line and (word.isdigit() or len(word) == 1):  # "1." and "a." before an entry of a list
        return False
    if word.isdigit():
        return not following[:1].islower()
    if lowered in _TITLES or lowered in _NEVER_LAST:
        return False
    if lowered in _BEFORE_NUMBERS and (numeral or lowered != "no"):
        return fresh and lowered != "fig"
    if lowered in _MONTHS:
        return not numeral
    if lowered in _USUALLY_LAST:
        return capital or not following
    if lowered in _NAMES or _INITIALS.fullmatch(word) or (len(word) == 1 and word.isupper()):
        return fresh or not following
    return True


def _word_before(text: str, begin: int, position: int) -> str:
    """Return the text from the last white space to ``position``, without opening marks."""
    window = text[max(begin, position - _LONGEST_WORD) : position]
    return window[-1:].strip() and window.split()[-1].lstrip("\"'“‘«‹([{「『（")


def _phrases(text: str, sentence: Piece, asides: _Asides) -> list[Piece]:
    joints = (joint.end() for joint in _JOINT.finditer(text, sentence.start, sentence.end))
    cuts = [position for position in joints if sentence.start < position < sentence.end and not asides.holds(position)]
    kept: list[int] = []
    for first, last in zip([sentence.start, *cuts], [*cuts, sentence.end], strict=True):
        says = any(word.lower() not in _EMPTY_WORDS for word in _SPELLED.findall(text[first:last]))
        if says:
            kept.append(last)
        elif last == sentence.end and kept:
            kept[-1] = last
    return _pieces(text, sentence.start, sentence.end, [position for position in kept if position < sentence.end])
