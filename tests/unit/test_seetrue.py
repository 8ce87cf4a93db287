"""SeeTRUE-Feedback in its real layout: Parquet shards, and a model for inference that judges the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from clipalign.device import DeviceChoice
from clipalign.errors import DownloadFailed, MissingDataset, MissingExtra, MissingWeights
from clipalign.evaluation.benchmark import CaptionOutcome, CaptionSample
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks import seetrue
from clipalign.evaluation.tasks import seetrue as entailment
from clipalign.evaluation.tasks.seetrue import Entailment, SeeTrue
from tests.evaluated import run_benchmark
from tests.tiny import load_tiny
from tests.word_datasets import write_seetrue

CPU = DeviceChoice(device="cpu", precision="fp32", reason="", threads=None)


class WordOverlap:
    """Stands in for the model for inference: the share of the prediction's words that people used too."""

    name = "word overlap"
    asked: list[tuple[str, str]]

    def __init__(self, *_: Any, **__: Any) -> None:
        self.asked = []

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        self.asked += pairs
        return [
            sum(word in premise.split() for word in hypothesis.replace(",", "").split()) / len(hypothesis.split())
            for premise, hypothesis in pairs
        ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty captions in two shards."""
    pytest.importorskip("pyarrow")
    return write_seetrue(tmp_path / "seetrue")


def test_rows_of_all_shards_are_samples_in_their_order(data: Path) -> None:
    benchmark = SeeTrue(data)
    benchmark.check()
    samples = [sample for sample in benchmark.samples(limit=None, seed=0) if isinstance(sample, CaptionSample)]
    assert (len(samples), benchmark.size) == (20, 20)
    assert [sample.id for sample in samples] == [str(number) for number in range(20)]
    assert samples[13].truth == {"feedback": "a kite", "source_id": "143"}
    assert samples[13].part == "PickaPic"
    assert samples[13].image_name == "13.jpg"
    assert isinstance(samples[13].image, bytes)


def test_the_whole_path_on_twenty_samples(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seetrue, "Entailment", WordOverlap)
    output = tmp_path / "run"
    result = run_benchmark(SeeTrue(data), load_tiny(), EvalSettings(epsilon=0.0, output=output))
    by_name = {metric.name: metric for metric in result.metrics}
    parts = ("", "_coco_con", "_drawbench", "_pickapic")
    assert list(by_name) == [f"{name}{part}" for part in parts for name in ("nli", "published_nli")]
    assert by_name["nli"].n == 20
    assert by_name["nli"].value == pytest.approx(
        sum(by_name[f"nli_{part}"].value * by_name[f"nli_{part}"].n for part in ("coco_con", "drawbench", "pickapic"))
        / 20
    )
    assert "predictions are judged by word overlap" in result.notes
    assert run_benchmark(SeeTrue(data), load_tiny(), EvalSettings(epsilon=0.0, output=output, resume=True)) == result


def test_what_is_predicted_are_phrases_with_commas_and_nothing_is_worth_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seetrue, "Entailment", WordOverlap)
    benchmark = SeeTrue(data)
    benchmark.check()
    samples = [sample for sample in benchmark.samples(limit=None, seed=0) if isinstance(sample, CaptionSample)]
    evaluator = benchmark.evaluator(load_tiny(), EvalSettings(epsilon=0.0))
    predictions = [outcome.truth["prediction"] for outcome in evaluator.score(samples)]  # type: ignore[union-attr]
    assert any(", " in prediction for prediction in predictions)
    silent = benchmark.evaluator(load_tiny(), EvalSettings(epsilon=-1e9))
    assert {outcome.truth["nli"] for outcome in silent.score(samples)} == {0.0}  # type: ignore[union-attr]


def test_as_published_both_texts_are_judged_in_lower_case(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seetrue, "Entailment", WordOverlap)
    benchmark = SeeTrue(data)
    benchmark.check()
    sample = next(iter(benchmark.samples(limit=1, seed=0)))
    assert isinstance(sample, CaptionSample)
    sample = replace(sample, text="Dog", truth={"feedback": "a dOG"})
    (found,) = benchmark.evaluator(load_tiny(), EvalSettings(epsilon=1e9)).score([sample])
    assert isinstance(found, CaptionOutcome)
    assert (found.truth["nli"], found.truth["published_nli"]) == (0.0, 1.0)


def test_a_shard_that_is_none_or_has_other_columns_is_refused(data: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    place = sorted((data / "data").iterdir())[0]
    place.write_bytes(place.read_bytes()[:200])
    with pytest.raises(MissingDataset, match="is no Parquet file"):
        SeeTrue(data).check()
    parquet.write_table(pyarrow.table({"image": ["a"]}), place)
    with pytest.raises(MissingDataset, match="it has no column image_caption, caption_misalignment"):
        SeeTrue(data).check()


def test_a_folder_without_shards_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match=r"there is no data/test-\*\.parquet in"):
        SeeTrue(tmp_path).check()
    with pytest.raises(MissingDataset, match="seetrue is not in"):
        SeeTrue(tmp_path / "nowhere").check()


def test_the_missing_library_is_named_with_its_extra(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra) as error:
        run_benchmark(SeeTrue(data), load_tiny(), EvalSettings())
    assert error.value.hint == "pip install 'clipalign[nli]'"


def small_bart(folder: Path, labels: Sequence[str]) -> None:
    """A random model for inference in the real one's format."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "dog", "cat", "red"]
    core = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>")
    )
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    core.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    config = transformers.BartConfig(
        vocab_size=len(words),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
        init_std=1.0,
    )
    transformers.BartForSequenceClassification(config).save_pretrained(folder)


def test_entailment_is_against_contradiction_and_leaves_neutral_out(tmp_path: Path) -> None:
    import torch

    small_bart(tmp_path, ["contradiction", "neutral", "entailment"])
    judge = Entailment(CPU, folder=tmp_path)
    pairs = [("a red dog", "dog"), ("a cat", "red dog"), ("a dog", "a cat")]
    found = judge.probabilities(pairs)
    for (premise, hypothesis), probability in zip(pairs, found, strict=True):
        inputs = judge._tokenizer(premise, hypothesis, return_tensors="pt")
        with torch.no_grad():
            against, _, entailed = judge._model(**inputs).logits[0].double()
        assert probability == pytest.approx(float(1 / (1 + (against - entailed).exp())), abs=1e-5)


def test_a_model_that_is_not_there_or_judges_otherwise_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(MissingWeights, match=r"facebook/bart-large-mnli is not on this machine") as error:
        Entailment(CPU, folder=tmp_path)
    assert "--download" in error.value.hint
    small_bart(tmp_path, ["yes", "no"])
    with pytest.raises(MissingWeights, match="has no label 'contradiction'"):
        Entailment(CPU, folder=tmp_path)


class Stubborn:
    """Stands in for transformers: nothing can be had from it."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.AutoTokenizer = self.AutoModelForSequenceClassification = self

    def from_pretrained(self, name: str, **options: Any) -> Any:
        raise self.error


NOT_CACHED = OSError("We couldn't connect to the Hub.\nCheck your internet connection")


@pytest.mark.parametrize(
    ("error", "options", "kind", "said", "hint"),
    [
        (NOT_CACHED, {}, MissingWeights, "is not on this machine", "add --download, or put its files into "),
        (
            NOT_CACHED,
            {"download": True, "offline": True},
            MissingWeights,
            "is not on this machine, and --offline (or HF_HUB_OFFLINE) forbids fetching it",
            "fetch it once without --offline, or put its files into ",
        ),
        (
            NOT_CACHED,
            {"download": True},
            DownloadFailed,
            "could not be fetched: We couldn't connect to the Hub",
            "try again, or put its files into ",
        ),
        (
            SafetensorError("header too small"),
            {},
            MissingWeights,
            "in the cache of the Hub cannot be read: header too small",
            "delete it there and fetch it again",
        ),
    ],
)
def test_why_the_model_for_inference_is_not_to_be_had_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    options: dict[str, bool],
    kind: type[MissingWeights],
    said: str,
    hint: str,
) -> None:
    monkeypatch.setattr(entailment, "need", lambda *_, **__: Stubborn(error))
    with pytest.raises(MissingWeights) as caught:
        Entailment(CPU, folder=tmp_path, **options)
    assert type(caught.value) is kind
    assert caught.value.message == f"the model facebook/bart-large-mnli {said}"
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("error", [SafetensorError("header too small"), OSError("no valid JSON file."), KeyError("x")])
def test_a_model_for_inference_whose_files_are_damaged_is_named_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(entailment, "need", lambda *_, **__: Stubborn(error))
    with pytest.raises(MissingWeights) as caught:
        Entailment(CPU, folder=tmp_path, download=True)
    assert caught.value.message.startswith(f"the model in {tmp_path} cannot be read: ")
    assert "--download" not in caught.value.hint
