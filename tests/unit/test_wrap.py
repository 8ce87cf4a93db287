"""Models that a program holds: of open_clip as they stand, of transformers as a copy that says the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import clipalign
from clipalign.errors import ModelMismatch, UsageError
from clipalign.models.load import import_open_clip
from clipalign.session import Session, wrap
from tests.tiny import GOLDEN, TEXT, VISION, load_tiny

PICTURE = GOLDEN / "images" / "0.png"


@pytest.fixture
def network() -> Any:
    return load_tiny().network


@pytest.fixture
def transform() -> Any:
    side = load_tiny().image_size
    return import_open_clip().transform.image_transform(side, is_train=False)


class TestOpenClip:
    def test_says_what_the_same_weights_say_from_a_file(self, network: Any, transform: Any) -> None:
        session = wrap(network, None, transform, name="mine")
        known = Session(load_tiny())
        for pair in ((PICTURE, "a red car"), (PICTURE, "a cup of coke")):
            assert session.detect(*pair).cosine == pytest.approx(known.detect(*pair).cosine, abs=1e-6)
        result = session.detect(PICTURE, "a red car")
        assert (result.model, result.provenance.quick_gelu, result.provenance.device) == ("mine", True, "cpu")
        assert session.score_long(PICTURE, "A car. A cup.").sentences[1].cosine is not None
        assert session.classify(PICTURE, ["a car", "a cup"], method="clip").label in ("a car", "a cup")

    def test_leaves_the_model_as_it_was(self, network: Any) -> None:
        before = {name: (tensor.clone(), tensor.requires_grad) for name, tensor in network.named_parameters()}
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        wrap(network).detect(PICTURE, "a red car")
        for name, parameter in network.named_parameters():
            assert torch.equal(parameter, before[name][0]) and parameter.grad is None and parameter.requires_grad
            parameter.requires_grad_(before[name][1])

    def test_names_the_weights_it_had(self) -> None:
        one, same, other = (self.small(seed) for seed in (0, 0, 1))
        hashes = [wrap(model).loaded.weights_sha256 for model in (one, same, other)]
        assert hashes[0] == hashes[1] != hashes[2] and len(hashes[0]) == 64

    def test_vectors_of_classes_are_not_kept_for_weights_that_may_change(self, tmp_path: Path) -> None:
        wrap(self.small(), cache_dir=tmp_path).classify(PICTURE, ["a car", "a cup"])
        assert not list(tmp_path.rglob("*.*"))

    def test_preprocessing_of_the_model_itself(self, network: Any) -> None:
        assert wrap(network).loaded.notes == ("OpenAI's preprocessing assumed: the model does not say its own",)
        model = import_open_clip().create_model("RN50").eval()
        model.visual.preprocess_cfg |= {"mean": (0.5, 0.5, 0.5), "resize_mode": "squash"}
        loaded = wrap(model).loaded
        assert (loaded.mean, loaded.resize_mode, loaded.notes) == ((0.5, 0.5, 0.5), "squash", ())

    @pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
    @pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
    def test_open_clips_transforms_are_read(self, network: Any, mode: str, interpolation: str) -> None:
        transform = import_open_clip().transform.image_transform(
            load_tiny().image_size, is_train=False, mean=(0.4, 0.5, 0.6), resize_mode=mode,
            interpolation=interpolation, fill_color=7,
        )  # fmt: skip
        loaded = wrap(network, preprocess=transform).loaded
        assert (loaded.resize_mode, loaded.interpolation) == (mode, interpolation)
        assert loaded.mean == pytest.approx((0.4, 0.5, 0.6))

    def small(self, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        return import_open_clip().model.CLIP(embed_dim=24, vision_cfg=VISION, text_cfg=TEXT).eval()

    def test_what_cannot_be(self, network: Any, transform: Any) -> None:
        mixed = self.small()
        mixed.visual.conv1.half()
        other: Any
        for other, said in [
            (self.small().train(), "training mode"),
            ("ViT-B-32", "must be a torch module"),
            (torch.nn.Linear(2, 2).eval(), "Linear is no CLIP"),
            (mixed, "of several kinds: torch.float16 on cpu, torch.float32 on cpu"),
        ]:
            with pytest.raises(UsageError, match=said):
                wrap(other)
        for preprocess in (lambda picture: torch.zeros(3, 64, 64), lambda picture: picture):
            with pytest.raises(UsageError, match=r"(?s)preprocessing is none.*Prepared"):
                wrap(network, preprocess=preprocess)
        with pytest.raises(UsageError, match="tokenizer must be one of open_clip, not str"):
            wrap(network, "bert", transform)


class TestTransformers:
    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        pytest.importorskip("transformers")
        monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
        yield

    def clip(self) -> Any:
        import transformers

        torch.manual_seed(0)
        tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
        config = transformers.CLIPConfig(
            text_config=tower | {"eos_token_id": 49407}, vision_config=tower | {"image_size": 32, "patch_size": 16},
            projection_dim=24,
        )  # fmt: skip
        return transformers.CLIPModel(config).train(False)

    def test_cosines_are_those_of_its_own_forward_pass(self) -> None:
        model = self.clip()
        session = wrap(model, name="theirs")
        text = "a red car"
        tokens = session.loaded.tokenizer([text])
        with torch.no_grad():
            pixels = session.preprocess(PICTURE).tensor[None]
            theirs = model(input_ids=tokens, pixel_values=pixels, attention_mask=(tokens != 0).long())
            cosine = torch.nn.functional.cosine_similarity(theirs.image_embeds, theirs.text_embeds)
        ours = session.encode_images(PICTURE) @ session.encode_texts([text]).T
        assert float(ours) == pytest.approx(float(cosine), abs=1e-6)
        result = session.detect(PICTURE, text)
        assert result.model == result.provenance.architecture == "theirs"
        assert "tmp" not in str(result.provenance), "no trace of the folder between"

    def test_a_part_of_another_library(self) -> None:
        with pytest.raises(UsageError, match="must come from there, not Compose"):
            wrap(self.clip(), preprocess=import_open_clip().transform.image_transform(32, is_train=False))

    def test_another_kind_of_model(self) -> None:
        import transformers

        config = transformers.BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=10
        )
        with pytest.raises((ModelMismatch, UsageError)):
            wrap(transformers.BertModel(config).train(False))


def test_wrap_is_public() -> None:
    assert clipalign.wrap is wrap
