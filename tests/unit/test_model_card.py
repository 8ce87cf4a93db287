"""The figures of the embedded models' card: its own statistics worked out by hand, and where the tables go."""

from __future__ import annotations

import pytest

from clipalign.eval_results import Metric
from tests.model_card import CARD, WORDS, Measured, renewed, verdicts, words_table
from tests.unit.test_pictogram_foil import outcome

OUTCOMES = [
    outcome("1", 0.9, {"a": 0.1, "dog": 0.2}, false=None, part="object"),
    outcome("1", 0.5, {"a": 0.1, "cat": -0.2}, false="cat", part="object"),
    outcome("2", 0.4, {"red": -0.3, "sky": 0.2}, false=None, part="color"),
    outcome("2", 0.7, {"blue": 0.1, "sky": -0.3}, false="blue", part="color"),
]


def test_foils_found_false_alarms_and_pairs_worked_out_by_hand() -> None:
    values = {one.name: one.value() for one in verdicts(OUTCOMES, epsilon=-0.1)}
    assert (values["found"], values["found_object"], values["found_color"]) == (0.5, 1, 0)
    assert (values["alarms"], values["alarms_object"], values["alarms_color"]) == (0.5, 0, 1)
    assert (values["ranked"], values["ranked_object"], values["ranked_color"]) == (0.5, 1, 0)


def test_a_table_has_a_row_a_kind_one_for_all_and_the_range_of_the_seeds() -> None:
    names = ("la", "ap_clip_score", "ap_f_clip_score", "ranked", "found", "alarms")
    metrics = {name + end: Metric(name + end, 0.5, 4, 0.25, 0.75) for name in names for end in ("", "_size")}
    rows = list(words_table(Measured(metrics, [dict.fromkeys(names, 0.4), dict.fromkeys(names, 0.6)])))
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| size", "| all", "| seeds"]
    assert rows[2].split(" | ")[1] == "0.500 (0.250 to 0.750)"
    assert rows[4].split(" | ")[1] == "0.400 to 0.600"


def test_each_table_replaces_the_one_after_its_mark_and_nothing_else() -> None:
    card = "before\n\n<!-- figures: one -->\n| old |\n| row |\n\n| another |\n"
    assert renewed(card, {"one": "| new |"}) == "before\n\n<!-- figures: one -->\n| new |\n\n| another |\n"
    with pytest.raises(SystemExit, match="0 places for two"):
        renewed(card, {"two": "| new |"})


@pytest.mark.parametrize("name", [*WORDS, "long"])
def test_the_card_has_a_place_and_figures_for_every_table(name: str) -> None:
    card = CARD.read_text(encoding="utf-8")
    assert renewed(card, {name: "| new |"}) != card
    assert f"<!-- figures: {name} -->\n| " in card
