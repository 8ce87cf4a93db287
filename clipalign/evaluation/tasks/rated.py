"""Sets of people's answers about pictures, put together to rows.

Ratings of TIFA160's pictures by DSG (Cho et al., 2024), answers about generated pictures by GenEval (Ghosh et al.,
2023), preferences between two descriptions of ImageInWords (Garg et al., 2024), FaithScore's labeled statements (Jing
et al., 2024).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from statistics import fmean
from typing import Any, Final

from clipalign.evaluation.dataset_files import Annotations, find_in, read_annotations
from clipalign.evaluation.tasks.caption_sets import CaptionSets, rows_of

_COUNTS: Final = {"one": 1, "two": 2, "three": 3, "four": 4}
_COLORED: Final = re.compile(r"(?:a|an) (red|orange|yellow|green|blue|purple|pink|brown|black|white) ")
_PLACED: Final = re.compile(r" (left of|right of|above|below) ")


def _answers(rows: list[Any], *keys: str) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Rows of one picture together, by the values of ``keys``; rows without them are left out."""

    def picture(row: Any) -> tuple[str, ...]:
        return tuple(str(row.get(key) or "") for key in keys)

    for key, answers in groupby(sorted(rows, key=picture), picture):
        if all(key):
            yield key, list(answers)


class Dsg(CaptionSets):
    """``dsg``: mean of five ratings, 1 to 5, of whether a picture of TIFA160 is what its prompt says.

    Attributes:
        prompts: file of TIFA160, which has the prompts.
    """

    prompts: str

    def rows(self, file: Annotations) -> Iterator[tuple[str, Any]]:
        paths = (self.prompts, f"../tifa160/{self.prompts}", f"../tifa/{self.prompts}")
        rated = read_annotations(find_in(self.folder, "tifa160", *paths), "tifa160")
        texts = {row.get("image_path"): row.get("text") for _, row in rows_of(rated) if isinstance(row, dict)}
        for (source, model), answers in _answers(file.rows(), "source_id", "t2i_model"):
            drawn_by = re.sub(r"^sd(\d)dot(\d)$", r"stable_diffusion_v\1_\2", model).replace("-", "_")
            image = f"{source}_{drawn_by}.jpg"
            yield image, {"image": image, "text": texts.get(image), "answers": answers}

    def read(self, row: Any) -> Any:
        return row | {"human": fmean(float(one["answer"]) for one in row["answers"])}


class GenEval(CaptionSets):
    """``geneval``: the share of five people for whom a picture shows what its prompt says, by the skill it asks for.

    People said how many of each object they see, in which colors, and where the second is from the first; whether that
    is what the prompt says is derived here.
    """

    def rows(self, file: Annotations) -> Iterator[tuple[str, Any]]:
        for (address, prompt), answers in _answers(file.rows(), "Input.image_url", "Input.caption"):
            if "/images/" not in address:
                continue  # the second half of a line that is broken in the published file
            image = address.partition("/images/")[2]
            yield image, {"image": image, "text": prompt, "skill": skill_of(prompt), "answers": answers}

    def read(self, row: Any) -> Any:
        return row | {"human": fmean(shows(row["text"], one) for one in row["answers"])}


def skill_of(prompt: str) -> str:
    """What a prompt of GenEval asks for, by its words."""
    text = prompt.removeprefix("a photo of ")
    if text.split()[0] in _COUNTS:
        return "counting"
    if _PLACED.search(text):
        return "position"
    if _COLORED.match(text) and not text.startswith("an orange and"):
        return "color_attribution" if len(_COLORED.findall(text)) > 1 else "colors"
    return "two_object" if " and " in text else "single_object"


def shows(prompt: str, answer: Mapping[str, Any]) -> bool:
    """Whether the picture that a person saw is what the prompt says."""
    text, skill = prompt.removeprefix("a photo of "), skill_of(prompt)
    seen = [float(answer.get(f"Answer.task-count-{index}") or 0) for index in (0, 1)]
    if skill == "counting":
        return seen[0] == _COUNTS[text.split()[0]]
    if not seen[0] or (answer.get("Input.object_1_name") and not seen[1]):
        return False
    if skill == "position":
        where = str(_PLACED.search(text)[1]).split()[0]  # type: ignore[index]
        return where in (answer.get("Answer.task-position-x"), answer.get("Answer.task-position-y"))
    colors = _COLORED.findall(text) if skill.startswith("color") else []
    return all(
        color in str(answer.get(f"Answer.task-color-{index}") or "").split("|") for index, color in enumerate(colors)
    )


class Preferences(CaptionSets):
    """``iiw-preferences``: of two descriptions the better one, as people said by aspect; neutral answers do not count.

    Attributes:
        side_by_side: key of the answers.
        sides: what an answer begins with → key of that description.
    """

    side_by_side: str
    sides: dict[str, str]

    def rows(self, file: Annotations) -> Iterator[tuple[str, Any]]:
        for key, row in rows_of(file):
            answers = row.get(self.side_by_side) if isinstance(row, dict) else None
            for aspect, answer in answers.items() if isinstance(answers, dict) else ():
                for side, other in zip(self.sides, reversed(self.sides), strict=True):
                    if str(answer).startswith(f"{side} is "):
                        texts = {"better": row.get(self.sides[side]), "worse": row.get(self.sides[other])}
                        yield f"{key}:{aspect}", {**row, **texts, "aspect": aspect.rpartition("/")[2]}


class Statements(CaptionSets):
    """``faithscore``: statements of an answer about a picture, true or false."""

    def read(self, row: Any) -> Any:
        true, false = ([fact for fact, label in row["stage 2"].items() if label == wanted] for wanted in (1, 0))
        return row | {"true": true, "false": false}
