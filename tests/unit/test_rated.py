"""Sets of people's answers in the layouts of the real ones: which ratings, which pictures, what is measured."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from clipalign.evaluation.benchmark import BrokenSample, CaptionSample
from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.caption_sets import CaptionSets
from clipalign.evaluation.tasks.increments import GrowingCaptions, IncrementOutcome
from clipalign.evaluation.tasks.rated import shows, skill_of
from tests.evaluated import run_benchmark
from tests.tiny import load_tiny
from tests.word_datasets import draw


def table(*rows: Mapping[str, Any]) -> str:
    """CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for row in rows for name in row))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


TIFA = "human_annotations_with_scores.json"
TIFA_ROWS = json.dumps(
    {
        "a_1": {"image_path": "a_1_mini_dalle.jpg", "text": "A dog.", "human_avg": 4.5},
        "a_2": {"image_path": "a_2_stable_diffusion_v1_5.jpg", "text": "A cat.", "human_avg": 2.0},
    }
)
DSG = [
    {"t2i_model": "mini-dalle", "source_id": "a_1", "answer": "3"},
    {"t2i_model": "sd1dot5", "source_id": "a_2", "answer": "1"},
    {"t2i_model": "mini-dalle", "source_id": "a_1", "answer": "4"},
]
GENEVAL = [
    {
        "Input.image_url": f"https://x/images/m/{number}.png",
        "Input.caption": "a photo of two dogs",
        "Answer.task-count-0": seen,
    }
    for number, seen in ((1, "2"), (2, "1"), (1, "1"))
]
IIW = {
    "image/key": "one",
    "IIW": "A long text.",
    "IIW-P5B": "A short text.",
    "iiw-human-sxs-iiw-p5b": {
        "metrics/Specificity": "IIW-Human is substantially better",
        "metrics/Human Like": "Neutral",
        "metrics/Hallucination": "IIW-P5B is marginally better",
    },
}
FLICKR = {
    "1": {
        "image_path": "1.jpg",
        "ground_truth": ["A dog.", "One dog."],
        "human_judgement": [{"caption": "A dog .", "rating": 4.0}, {"caption": "A cat .", "rating": float("nan")}],
    }
}
Expected = list[tuple[str, str, float | None, str]]
LAYOUTS: dict[str, tuple[dict[str, str], Expected]] = {
    "thumb": (
        {
            "mscoco_THumB-1.0.jsonl": lines(
                {"image": "COCO_val2014_000000000007.jpg", "hyp": "A.", "human_score": 3.5}
            ),
            "captions_val2014.json": json.dumps({"annotations": [{"image_id": 7, "id": 1, "caption": "A dog."}]}),
        },
        [("COCO_val2014_000000000007.jpg", "A.", 3.5, "")],
    ),
    "tifa160": (
        {TIFA: TIFA_ROWS},
        [("a_1_mini_dalle.jpg", "A dog.", 4.5, ""), ("a_2_stable_diffusion_v1_5.jpg", "A cat.", 2.0, "")],
    ),
    "dsg": (
        {TIFA: TIFA_ROWS, "tifa160-likert-anns.csv": table(*DSG)},
        [("a_1_mini_dalle.jpg", "A dog.", 3.5, ""), ("a_2_stable_diffusion_v1_5.jpg", "A cat.", 1.0, "")],
    ),
    "geneval": (
        {"annotations_if-xl.csv": table(*GENEVAL)},
        [("m/1.png", "a photo of two dogs", 0.5, "counting"), ("m/2.png", "a photo of two dogs", 0.0, "counting")],
    ),
    "iiw-preferences": (
        {"data.jsonl": lines(IIW, {"image/key": "two", "IIW": "Without answers."})},
        [
            ("one.jpg", "A long text.", None, "Specificity"),
            ("one.jpg", "A short text.", None, "Specificity"),
            ("one.jpg", "A short text.", None, "Hallucination"),
            ("one.jpg", "A long text.", None, "Hallucination"),
        ],
    ),
    "faithscore": (
        {"annotation.jsonl": lines({"id": "0007", "stage 2": {"A dog.": 1, "A cat.": 0, "A bird.": 1}})},
        [("0007.jpg", text, None, "") for text in ("A dog.", "A bird.", "A cat.")],
    ),
    "flickr8k-expert": ({"flickr8k.json": json.dumps(FLICKR)}, [("1.jpg", "A dog .", 4.0, "")]),
    "flickr8k-cf": ({"crowdflower_flickr8k.json": json.dumps(FLICKR)}, [("1.jpg", "A dog .", 4.0, "")]),
}


def rated_set(name: str, folder: Path, files: Mapping[str, str], pictures: Sequence[str]) -> CaptionSets:
    """The benchmark on these files and pictures, checked."""
    for picture in pictures:
        (folder / "images" / picture).parent.mkdir(parents=True, exist_ok=True)
    draw(folder / "images", pictures)
    for file, content in files.items():
        (folder / file).write_text(content)
    found = find_benchmark(name, data_root=folder)
    assert isinstance(found, CaptionSets)
    found.check()
    return found


def known(benchmark: CaptionSets) -> list[CaptionSample]:
    return [one for one in benchmark.samples(limit=None, seed=0) if isinstance(one, CaptionSample)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_texts_and_their_ratings_in_each_layout(name: str, tmp_path: Path) -> None:
    files, expected = LAYOUTS[name]
    samples = known(rated_set(name, tmp_path, files, [image for image, *_ in expected]))
    grouped = any(group for *_, group in expected)
    found = [(one.image_name, one.text, one.truth.get("human"), one.part if grouped else "") for one in samples]
    assert found == expected
    assert all(Path(str(one.image)).is_file() for one in samples)
    assert len({one.id for one in samples}) == len(samples)


def test_a_rating_that_is_no_number_is_counted_and_costs_only_itself(tmp_path: Path) -> None:
    benchmark = rated_set("flickr8k-expert", tmp_path, {"flickr8k.json": json.dumps(FLICKR)}, ["1.jpg"])
    _, broken = benchmark.samples(limit=None, seed=0)
    assert isinstance(broken, BrokenSample)
    odd = [DSG[0], DSG[1] | {"answer": "good"}]
    dsg = rated_set("dsg", tmp_path, {TIFA: TIFA_ROWS, "tifa160-likert-anns.csv": table(*odd)}, ["a_1_mini_dalle.jpg"])
    assert [type(one) for one in dsg.samples(limit=None, seed=0)] == [CaptionSample, BrokenSample]


def test_references_of_coco_leave_out_the_text_itself(tmp_path: Path) -> None:
    files, expected = LAYOUTS["thumb"]
    coco = [{"image_id": 7, "id": number, "caption": text} for number, text in enumerate(("A dog.", "A.", "Dogs."))]
    files = files | {"captions_val2014.json": json.dumps({"annotations": coco})}
    (sample,) = known(rated_set("thumb", tmp_path, files, [expected[0][0]]))
    assert sample.references == ("A dog.", "Dogs.")


@pytest.mark.parametrize(
    ("prompt", "skill"),
    [
        ("a photo of a bench", "single_object"),
        ("a photo of an orange", "single_object"),
        ("a photo of an orange and a bench", "two_object"),
        ("a photo of four tvs", "counting"),
        ("a photo of an orange laptop", "colors"),
        ("a photo of a cow below an airplane", "position"),
        ("a photo of a brown bed and a pink cell phone", "color_attribution"),
    ],
)
def test_the_skill_that_a_prompt_asks_for(prompt: str, skill: str) -> None:
    assert skill_of(prompt) == skill


def answer(*counts: str, colors: Sequence[str] = ("", ""), x: str = "", y: str = "") -> dict[str, str]:
    given = {f"Answer.task-count-{place}": count for place, count in enumerate(counts)}
    given |= {f"Answer.task-color-{place}": color for place, color in enumerate(colors)}
    second = {"Input.object_1_name": "thing"} if len(counts) > 1 else {}
    return given | second | {"Answer.task-position-x": x, "Answer.task-position-y": y}


@pytest.mark.parametrize(
    ("prompt", "given", "right"),
    [
        ("a photo of a bench", answer("1"), True),
        ("a photo of a bench", answer("0"), False),
        ("a photo of a fork and a bed", answer("1", "0"), False),
        ("a photo of three beds", answer("3"), True),
        ("a photo of three beds", answer("4"), False),
        ("a photo of a red bed", answer("1", colors=["red|black"]), True),
        ("a photo of a red bed", answer("1", colors=["reddish"]), False),
        ("a photo of a red bed and a pink cow", answer("1", "1", colors=["red", "pink"]), True),
        ("a photo of a red bed and a pink cow", answer("1", "1", colors=["pink", "red"]), False),
        ("a photo of a cow below a bed", answer("1", "1", x="left", y="below"), True),
        ("a photo of a cow left of a bed", answer("1", "1", x="right"), False),
        ("a photo of a cow left of a bed", answer("1", "0", x="left"), False),
    ],
)
def test_what_a_person_saw_against_what_the_prompt_says(prompt: str, given: dict[str, str], right: bool) -> None:
    assert shows(prompt, given) is right


def test_the_whole_path_on_ratings_and_on_preferences(tmp_path: Path) -> None:
    files, expected = LAYOUTS["tifa160"]
    ratings = run_benchmark(
        rated_set("tifa160", tmp_path / "a", files, [one[0] for one in expected]), load_tiny(), EvalSettings()
    )
    assert {"tau_b", "pearson_f_clip_score"} <= set(ratings.values)
    files, _ = LAYOUTS["iiw-preferences"]
    preferred = run_benchmark(
        rated_set("iiw-preferences", tmp_path / "b", files, ["one.jpg"]), load_tiny(), EvalSettings()
    )
    first, second = preferred.values["pair_accuracy_specificity"], preferred.values["pair_accuracy_hallucination"]
    assert {first, second} == {0.0, 1.0}  # the same two texts, judged the other way round
    assert preferred.values["pair_accuracy"] == 0.5


def growing(folder: Path, *rows: Any) -> GrowingCaptions:
    draw(folder / "images", ["1.jpg"])
    (folder / "himo_docci_data.json").write_text(lines(*rows))
    found = find_benchmark("himo-docci", data_root=folder)
    assert isinstance(found, GrowingCaptions)
    found.check()
    return found


def test_monotonicity_is_the_mean_correlation_of_place_and_cosine(tmp_path: Path) -> None:
    benchmark = growing(tmp_path, {"img_path": "1.jpg", "caption": ["A dog.", "A dog runs."]})
    outcomes = [
        IncrementOutcome("1", (0.1, 0.2, 0.3), (), cut=0),  # 1
        IncrementOutcome("2", (0.3, 0.1), (), cut=0),  # -1
        IncrementOutcome("3", (0.2, 0.2), (), cut=0),  # does not vary
        IncrementOutcome("4", (0.1, 0.3, 0.1), (), cut=0),  # 0
        IncrementOutcome("5", (0.1,), (), cut=0),
    ]
    found = {one.name: one for one in benchmark.statistics(outcomes)}
    assert found["monotonicity"].ids == ("1", "2", "3", "4")
    assert found["monotonicity"].value() == pytest.approx(0.0)
    assert found["positive"].value() == pytest.approx((1 + 0 + 0 + 0.5) / 4)


def test_growing_captions_from_file_to_numbers(tmp_path: Path) -> None:
    rows = [{"img_path": "1.jpg", "caption": ["A dog.", "A dog runs."]}, {"img_path": "1.jpg", "caption": []}, 3]
    result = run_benchmark(growing(tmp_path, *rows), load_tiny(), EvalSettings())
    assert result.counts == {"samples": 1, "unreadable": 2}
    assert set(result.values) == {"monotonicity", "positive"}


REAL = Path(__file__).parents[3] / "shared" / "data" / "eval"

TEN: dict[str, tuple[str, int, list[float]]] = {
    "thumb": ("thumb", 2500, [3.5, 4.0, 4.0, 3.5, 4.5, 4.5, 3.0, 4.4, 3.0, 3.5]),
    "tifa160": ("tifa", 800, [5.0, 3.5, 2.0, 4.5, 2.0, 4.5, 4.5, 5.0, 3.0, 3.5]),
    "dsg": ("dsg", 800, [4.2, 3.4, 4.2, 2.6, 3.4, 3.4, 2.2, 3.0, 5.0, 2.6]),
    "geneval": ("geneval", 400, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 1.0, 0.0]),
    "iiw-preferences": ("iiw-400", 836, [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    "faithscore": ("faithscore", 1380, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]),
}
"""Folder, texts, and of ten, a tenth apart and by hand: rating, whether the person's text is preferred, or label."""


@pytest.mark.skipif(not REAL.is_dir(), reason="the real annotation files are not at hand")
@pytest.mark.parametrize("name", TEN)
def test_the_real_files_are_read_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, count, ten = TEN[name]
    for file in (*(REAL / folder).iterdir(), REAL / "tifa" / TIFA):
        if not (tmp_path / file.name).exists():
            (tmp_path / file.name).symlink_to(file)
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(CaptionSets, "_pictures", lambda *given: tmp_path)  # no picture is at hand
    benchmark = rated_set(name, tmp_path, {}, [])
    samples = known(benchmark)
    assert len(samples) == benchmark.size == count
    assert benchmark.of_papers
    if name == "iiw-preferences":
        people = {row["IIW"].strip() for row in map(json.loads, (tmp_path / "data.jsonl").open())}
        found = [float(one.text in people) for one in samples[::2]][::41][:10]
    elif name == "faithscore":
        found = [float(one.correct) for one in samples][::138]
    else:
        found = [one.truth["human"] for one in samples][:: count // 10]
    assert found == pytest.approx(ten)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real annotation files are not at hand")
def test_the_real_growing_captions(tmp_path: Path) -> None:
    (tmp_path / "himo_docci_data.json").symlink_to(REAL / "himo-docci" / "himo_docci_data.json")
    (tmp_path / "images").mkdir()
    benchmark = find_benchmark("himo-docci", data_root=tmp_path)
    benchmark.check()
    samples = [one for one in benchmark.samples(limit=None, seed=0) if not isinstance(one, BrokenSample)]
    assert benchmark.size == len(samples) == 1000
    assert [len(one.captions) for one in samples[::100]] == [5, 10, 5, 5, 4, 5, 4, 8, 6, 11]  # counted by hand
