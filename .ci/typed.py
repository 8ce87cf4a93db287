"""A program of somebody else. A strict type checker has to know what it gets from the installed package."""

from __future__ import annotations

from pathlib import Path

import clipalign
from clipalign import ClipalignError, DetectResult, LongResult, Session


def wrong_words(session: Session, picture: Path, texts: list[str]) -> list[str]:
    """Every misaligned word of every text."""
    results: list[DetectResult] = session.detect_many([(picture, text) for text in texts])
    return [word for result in results for word in result.misaligned]


def main() -> int:
    """One of each."""
    try:
        session = clipalign.load("pictogram")
    except ClipalignError as error:
        print(error.hint)
        return error.exit_status
    score: float = session.detect("a.png", "a cat").clip_score
    best: str = session.classify("a.png", ["a cat", "a dog"]).classes[0].name
    long: LongResult = session.score_long("a.png", "A cat. It sleeps.")
    print(score, best, long.sentences[0].text, wrong_words(session, Path("a.png"), ["a dog"]))
    return 0
