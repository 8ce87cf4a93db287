"""Models as transformers and open_clip write them themselves, loaded by every spelling: their own cosines to 1e-6."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.device import DeviceChoice
from clipalign.errors import MissingWeights, ModelMismatch, UsageError
from clipalign.models.attribution import attribute
from clipalign.models.encode import encode_images, encode_texts
from clipalign.models.load import import_open_clip, load_model
from clipalign.models.tokenize import tokenize_text
from tests.parity.oracle import relevance, with_gradients

transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")

CPU = DeviceChoice("cpu", "fp32", "")
TOLERANCE = 1e-6
CAPTIONS = ("a red cup on a table", "two dogs", "a red cup " * 12)
WORDS = ("a", "red", "cup", "on", "table", "two", "dogs")

TEXT = {
    "vocab_size": 49408,
    "hidden_size": 48,
    "intermediate_size": 100,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "max_position_embeddings": 20,
}
IMAGE = {
    "hidden_size": 40,
    "intermediate_size": 90,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


class Written(NamedTuple):
    """A model that a library wrote into a folder, and its own cosines.

    Attributes:
        folder: that it was written into.
        cosines: from pictures (B, 3, S, S) and token ids (C, T) to (B, C), by the library's own forward pass.
    """

    folder: Path
    cosines: Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CLIPALIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a network was asked"))
    return tmp_path / "hub"


def randomized(network: Any) -> Any:
    """``network`` with random weights, its norms and biases too, none of them near zero."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in network.parameters():
            parameter.copy_(
                parameter.nan_to_num() + torch.randn(parameter.shape) * (0.2 if parameter.ndim == 1 else 0.1)
            )
    return network.float().eval()


def write_tokenizer(folder: Path, **special: str) -> None:
    """A word a token, the end token as the last, padded on the right."""
    tokenizers = pytest.importorskip("tokenizers")
    names = ["<pad>", "</s>", "<unk>", *special.values(), *WORDS]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    start = special.get("bos_token", "")
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{start} $A </s>".strip(), special_tokens=[(name, vocabulary[name]) for name in (start, "</s>") if name]
    )
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **special
    )
    made.save_pretrained(folder)


def write_with_transformers(folder: Path, kind: str, act: str = "", shards: str = "5GB", **text: Any) -> Written:
    """A tiny CLIP, MetaCLIP 2 or SigLIP with its preprocessing."""
    siglip = kind == "Siglip"
    towers = [TEXT | text, dict(IMAGE)]
    for tower in towers:
        tower |= {"hidden_act": act} if act else {}
    if siglip:
        towers[0] |= {"projection_size": IMAGE["hidden_size"], "bos_token_id": None, "eos_token_id": 1}
    made = getattr(transformers, f"{kind}Config")(
        text_config=towers[0], vision_config=towers[1], **({} if siglip else {"projection_dim": 24})
    )
    model = randomized(getattr(transformers, f"{kind}Model")(made))
    model.save_pretrained(folder, max_shard_size=shards)
    size = {"height": 32, "width": 32}
    if siglip:
        transformers.SiglipImageProcessor(size=size).save_pretrained(folder)
    else:
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)

    @torch.no_grad()
    def cosines(pictures: Tensor, ids: Tensor) -> Tensor:
        found = (model.get_image_features(pixel_values=pictures), model.get_text_features(input_ids=ids))
        image, words = (F.normalize(getattr(one, "pooler_output", one), dim=-1) for one in found)
        return image @ words.T

    return Written(folder, cosines)


def write_with_open_clip(folder: Path, *, custom_text: bool = False, tokenizer: bool = False) -> Written:
    """A tiny CLIP as open_clip's ``push_to_hf_hub`` writes it."""
    open_clip = import_open_clip()
    saving: Any = __import__("open_clip.push_to_hf_hub", fromlist=["save_for_hf"])
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 40, "head_width": 20, "patch_size": 8},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 48, "heads": 3, "layers": 3},
    }
    if tokenizer:
        config["text_cfg"] |= {"hf_tokenizer_name": "owner/words", "pool_type": "eos", "eos_id": 1}  # type: ignore[operator]
        write_tokenizer(folder)
        words = open_clip.tokenizer.HFTokenizer(str(folder), context_length=20)
    else:
        words = open_clip.tokenizer.HFTokenizer  # has nothing to save
        words = type("Nothing", (), {"save_pretrained": lambda self, _: None})()
    kind = open_clip.model.CustomTextCLIP if custom_text else open_clip.model.CLIP
    model = randomized(kind(**config))
    model.visual.preprocess_cfg = {"interpolation": "bilinear", "resize_mode": "squash"}
    model.visual.image_mean, model.visual.image_std = [0.5, 0.4, 0.3], [0.2, 0.2, 0.2]
    saving.save_for_hf(model, words, config | {"custom_text": custom_text}, folder)

    @torch.no_grad()
    def cosines(pictures: Tensor, ids: Tensor) -> Tensor:
        image, text = model.encode_image(pictures, normalize=True), model.encode_text(ids, normalize=True)
        return torch.as_tensor(image @ text.T)

    return Written(folder, cosines)


def agree(spec: str | Path, written: Written) -> Any:
    """Load ``spec`` and compare cosines of random pictures and of captions; the loaded model."""
    loaded = load_model(str(spec), choice=CPU)
    pictures = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    texts = [tokenize_text(loaded, caption) for caption in CAPTIONS]
    expected = written.cosines(pictures, torch.tensor([text.ids + text.padding for text in texts]))
    assert expected.std() > 0.01, "there is nothing to compare"
    found = encode_images(loaded, pictures) @ encode_texts(loaded, CAPTIONS).T
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
    return loaded


def in_hub(hub: Path, repo: str, folder: Path, revision: str = "main") -> None:
    """A folder as the Hub's cache holds a repository."""
    place = hub / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / ("a" * 40))
    (place / "refs").mkdir()
    (place / "refs" / revision).write_text("a" * 40)


class TestClip:
    @pytest.mark.parametrize("act", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
    @pytest.mark.parametrize("kind", ["CLIP", "MetaClip2"])
    def test_a_folder_of_transformers(self, tmp_path: Path, kind: str, act: str) -> None:
        if not hasattr(transformers, f"{kind}Model"):
            pytest.skip(f"this version of transformers has no {kind}")
        loaded = agree(tmp_path / "m", write_with_transformers(tmp_path / "m", kind, act))
        assert loaded.quick_gelu == (act == "quick_gelu")
        assert (loaded.context_tokens, loaded.image_size, loaded.resize_mode) == (20, 32, "shortest")
        assert loaded.notes == ("CLIP's tokenizer assumed: there is none beside the config",)

    def test_weights_in_several_files(self, tmp_path: Path) -> None:
        written = write_with_transformers(tmp_path / "m", "CLIP", shards="200KB")
        assert (tmp_path / "m" / "model.safetensors.index.json").is_file()
        first = agree(tmp_path / "m", written).weights_sha256
        (shard, *_) = sorted((tmp_path / "m").glob("model-*.safetensors"))
        shard.unlink()
        assert len(first) == 64
        with pytest.raises(MissingWeights, match=f"names weights that are not beside it: {shard.name}"):
            load_model(str(tmp_path / "m"), choice=CPU)

    def test_pickles(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file

        written = write_with_transformers(tmp_path / "m", "CLIP")
        torch.save(load_file(tmp_path / "m" / "model.safetensors"), tmp_path / "m" / "pytorch_model.bin")
        (tmp_path / "m" / "model.safetensors").unlink()
        agree(tmp_path / "m", written)

    def test_the_end_token_of_the_first_configs(self, tmp_path: Path) -> None:
        agree(tmp_path / "m", write_with_transformers(tmp_path / "m", "CLIP", eos_token_id=2))

    def test_every_spelling(self, tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written = write_with_transformers(tmp_path / "m", "CLIP")
        in_hub(hub, "owner/clip", tmp_path / "m")
        monkeypatch.chdir(tmp_path)
        weights = tmp_path / "m" / "model.safetensors"
        specs = ("m", "./m", "local-dir:m", "owner/clip", "hf-hub:owner/clip", "owner/clip@main")
        for spec in (*specs, f"{tmp_path}/m/config.json@{weights}", f"owner/clip@{'a' * 40}"):
            agree(spec, written)

    def test_a_checkpoint_without_its_folder(self, tmp_path: Path) -> None:
        """Its heads are 64 wide, as in every CLIP that OpenAI published."""
        written = write_with_transformers(tmp_path / "m", "CLIP", hidden_size=64, num_attention_heads=1)
        (tmp_path / "config.json").write_text((tmp_path / "m" / "config.json").read_text())
        with pytest.raises(ModelMismatch, match="vision width 40 is not a multiple of 64"):
            load_model(str(tmp_path / "m" / "model.safetensors"), choice=CPU)
        agree(f"{tmp_path / 'config.json'}@{tmp_path / 'm' / 'model.safetensors'}", written)

    def test_a_tokenizer_of_its_own(self, tmp_path: Path) -> None:
        size = len(WORDS) + 4
        written = write_with_transformers(tmp_path / "m", "CLIP", vocab_size=size, eos_token_id=1, bos_token_id=3)
        with pytest.raises(ModelMismatch, match="has a vocabulary of its own"):
            load_model(str(tmp_path / "m"), choice=CPU)
        write_tokenizer(tmp_path / "m", bos_token="<s>")
        loaded = agree(tmp_path / "m", written)
        assert tokenize_text(loaded, "a red cup").ids == (3, 4, 5, 6, 1)

    def test_preprocessing_that_is_not_written_down_is_said(self, tmp_path: Path) -> None:
        write_with_transformers(tmp_path / "m", "CLIP")
        (tmp_path / "m" / "preprocessor_config.json").unlink()
        notes = load_model(str(tmp_path / "m"), choice=CPU).notes
        assert notes[0].startswith("OpenAI's preprocessing assumed: there is no preprocessor_config.json")

    @pytest.mark.parametrize(
        ("said", "mode", "note"),
        [
            ({"size": 32, "crop_size": 32}, "shortest", ""),
            ({"image_processor": {"size": {"shortest_edge": 32}, "resample": 2}}, "shortest", ""),
            ({"size": {"height": 32, "width": 32}, "do_center_crop": False}, "squash", ""),
            ({"size": {"shortest_edge": 40}, "do_normalize": False}, "shortest", "resized to 32 pixels, not to 40"),
            ({"size": {"shortest_edge": 32}, "do_center_crop": False}, "", "a preprocessing that clipalign does not"),
            ({"size": {"height": 64, "width": 64}}, "", "a preprocessing that clipalign does not have"),
            ({"resample": 1}, "", "a preprocessing that clipalign does not have"),
            ({"size": {"height": [], "width": 64}}, "", "is not readable"),
        ],
    )
    def test_preprocessing_of_every_version(self, tmp_path: Path, said: dict[str, Any], mode: str, note: str) -> None:
        write_with_transformers(tmp_path, "CLIP")
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
        if not mode:
            with pytest.raises(ModelMismatch, match=note):
                load_model(str(tmp_path), choice=CPU)
            return
        loaded = load_model(str(tmp_path), choice=CPU)
        assert loaded.resize_mode == mode and note in " ".join(loaded.notes)
        assert loaded.interpolation == ("bilinear" if "image_processor" in said else "bicubic")
        assert (loaded.mean == (0.0, 0.0, 0.0)) == ("do_normalize" in said)


class TestSiglip:
    @pytest.fixture(params=["gelu_pytorch_tanh", "gelu"])
    def written(self, request: pytest.FixtureRequest, tmp_path: Path) -> Written:
        made = write_with_transformers(tmp_path / "m", "Siglip", request.param, vocab_size=len(WORDS) + 3)
        write_tokenizer(made.folder)
        return made

    def test_a_folder_of_transformers(self, written: Written) -> None:
        loaded = agree(written.folder, written)
        assert (loaded.mean, loaded.resize_mode, loaded.notes) == ((0.5, 0.5, 0.5), "squash", ())

    def test_every_spelling(self, written: Written, hub: Path) -> None:
        in_hub(hub, "owner/siglip", written.folder)
        for spec in ("owner/siglip", "hf-hub:owner/siglip", f"local-dir:{written.folder}"):
            agree(spec, written)

    @pytest.mark.parametrize("layers", [1, 3])
    def test_attributions_are_those_of_the_slow_formula(self, written: Written, layers: int) -> None:
        loaded = load_model(str(written.folder), choice=CPU)
        texts = [tokenize_text(loaded, caption) for caption in CAPTIONS]
        images = F.normalize(torch.randn(3, IMAGE["hidden_size"], generator=torch.Generator().manual_seed(1)), dim=-1)
        for text, image, found in zip(texts, images, attribute(loaded, images, texts, layers=layers), strict=True):
            ids = torch.tensor(text.ids + text.padding)
            cosine, matrix = relevance(with_gradients(loaded.network), image, ids, layers=layers)
            assert found.cosine == pytest.approx(cosine, abs=TOLERANCE)
            expected = matrix[-1, : len(text.ids)]
            assert expected.abs().max() > 1e-4
            torch.testing.assert_close(found.tokens, expected, rtol=0, atol=TOLERANCE)

    @pytest.mark.parametrize("same", [True, False])
    def test_its_own_tokenizer_gets_places_from_a_file_that_agrees(self, tmp_path: Path, same: bool) -> None:
        sentencepiece = pytest.importorskip("sentencepiece")
        tokenizers = pytest.importorskip("tokenizers")
        (tmp_path / "words.txt").write_text("\n".join(["a red cup on a table", "two dogs run in the park"] * 9))
        sentencepiece.SentencePieceTrainer.train(
            input=str(tmp_path / "words.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=99,
            pad_id=-1, eos_id=1, unk_id=2, bos_id=0, hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
        size = model.get_piece_size()
        written = write_with_transformers(tmp_path / "m", "Siglip", vocab_size=size)
        transformers.SiglipTokenizer(str(tmp_path / "spiece.model")).save_pretrained(written.folder)
        pieces = [(model.id_to_piece(number), model.get_score(number)) for number in range(size)]
        inner = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces if same else pieces[::-1], unk_id=2))
        inner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
        inner.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", inner.token_to_id("</s>"))]
        )
        inner.save(str(written.folder / "tokenizer.json"))
        loaded = agree(written.folder, written)
        text = tokenize_text(loaded, "A red cup!")
        assert bool(text.unlocated) != same
        assert list(text.ids) == transformers.SiglipTokenizer(str(tmp_path / "spiece.model"))("A red cup!")["input_ids"]
        if same:
            places = dict.fromkeys(span for span in text.spans if span)
            assert "".join("A red cup!"[slice(*span)] for span in places).replace(" ", "") == "Aredcup"

    def test_without_a_tokenizer_it_is_refused(self, tmp_path: Path) -> None:
        write_with_transformers(tmp_path / "m", "Siglip")
        with pytest.raises(ModelMismatch, match="has a vocabulary of its own"):
            load_model(str(tmp_path / "m"), choice=CPU)


class TestOpenClip:
    @pytest.mark.parametrize("custom_text", [False, True])
    def test_every_spelling(self, tmp_path: Path, hub: Path, custom_text: bool) -> None:
        written = write_with_open_clip(tmp_path / "m", custom_text=custom_text)
        in_hub(hub, "owner/clip", tmp_path / "m")
        config, weights = tmp_path / "m" / "open_clip_config.json", tmp_path / "m" / "open_clip_pytorch_model.bin"
        for spec in (tmp_path / "m", f"local-dir:{tmp_path / 'm'}", "owner/clip", "hf-hub:owner/clip"):
            loaded = agree(spec, written)
            assert (loaded.mean, loaded.interpolation, loaded.resize_mode) == ((0.5, 0.4, 0.3), "bilinear", "squash")
            assert not loaded.notes
        agree(f"{config}@{weights}", written)

    def test_a_tokenizer_in_the_folder(self, tmp_path: Path) -> None:
        written = write_with_open_clip(tmp_path / "m", tokenizer=True)
        loaded = agree(tmp_path / "m", written)
        assert tokenize_text(loaded, "a red cup").ids[-1] == 1

    def test_a_tokenizer_that_rearranges_tokens_is_enough_for_cosines(self, tmp_path: Path) -> None:
        written = write_with_open_clip(tmp_path / "m", tokenizer=True)
        write_tokenizer(tmp_path / "m", bos_token="<s>", cls_token="<cls>")
        path = tmp_path / "m" / "open_clip_config.json"
        path.write_text(
            path.read_text().replace('"hf_tokenizer_name"', '"tokenizer_mode": "clips", "hf_tokenizer_name"')
        )
        loaded = agree(tmp_path / "m", written)
        text = tokenize_text(loaded, CAPTIONS[0])
        assert list(text.ids) == loaded.tokenizer([CAPTIONS[0]])[0].tolist()
        with pytest.raises(UsageError, match="the tokenizer mode 'clips': its tokens cannot be located"):
            attribute(loaded, torch.ones(1, 24), [text], layers=1)

    def test_training_leaves_other_names_of_the_same_weights(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file

        written = write_with_open_clip(tmp_path / "m")
        tensors = load_file(tmp_path / "m" / "open_clip_model.safetensors")
        del tensors["logit_scale"]
        content = {"state_dict": {f"module._orig_mod.{name}": value for name, value in tensors.items()}, "epoch": 3}
        torch.save(content, tmp_path / "epoch_3.pt")
        agree(f"{tmp_path / 'm' / 'open_clip_config.json'}@{tmp_path / 'epoch_3.pt'}", written)


TOWERS: dict[str, dict[str, Any]] = {
    "roberta": {"model_type": "roberta", "intermediate_size": 90},
    "xlm-roberta": {"model_type": "xlm-roberta", "intermediate_size": 90},
    "bert": {"model_type": "bert", "intermediate_size": 90},
    "mt5": {"model_type": "mt5", "d_model": 48, "d_ff": 90, "d_kv": 16, "num_layers": 3, "num_heads": 3},
    "m2m_100": {
        "model_type": "m2m_100",
        "d_model": 48,
        "encoder_layers": 3,
        "encoder_attention_heads": 3,
        "encoder_ffn_dim": 90,
        "decoder_layers": 1,
        "decoder_attention_heads": 3,
        "decoder_ffn_dim": 90,
        "max_position_embeddings": 64,
    },
}
"""Small text towers of transformers, one of each kind that open_clip serves."""

_COMMON = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "max_position_embeddings": 64}


def write_with_text_tower(folder: Path, hub: Path, kind: str, **text: Any) -> Written:
    """An open_clip model around a text tower of transformers, whose config and tokenizer lie in the Hub's cache."""
    tower = TOWERS[kind] | ({} if "d_model" in TOWERS[kind] else _COMMON)
    tower |= {"vocab_size": len(WORDS) + 4, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3}
    (folder / "tower").mkdir(parents=True)
    (folder / "tower" / "config.json").write_text(json.dumps(tower))
    write_tokenizer(folder / "tower", bos_token="<s>")
    in_hub(hub, "owner/tower", folder / "tower")
    said = {"hf_tokenizer_name": "owner/tower", "hf_proj_type": "linear", "context_length": 20} | text
    config: dict[str, Any] = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 40, "head_width": 20, "patch_size": 8},
        "text_cfg": said | {"hf_model_name": str(folder / "tower"), "hf_model_pretrained": False},
    }
    model = randomized(import_open_clip().model.CustomTextCLIP(**config))
    config["text_cfg"]["hf_model_name"] = "owner/tower"
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")

    @torch.no_grad()
    def cosines(pictures: Tensor, ids: Tensor) -> Tensor:
        image, words = model.encode_image(pictures, normalize=True), model.encode_text(ids, normalize=True)
        return torch.as_tensor(image @ words.T)

    return Written(folder, cosines)


@pytest.mark.parametrize("kind", TOWERS)
class TestTextTowersOfTransformers:
    def test_cosines_are_open_clips(self, tmp_path: Path, hub: Path, kind: str) -> None:
        agree(tmp_path / "m", write_with_text_tower(tmp_path / "m", hub, kind))

    @pytest.mark.parametrize("pooling", ["mean_pooler", "cls_pooler"])
    def test_attributions_are_those_of_the_slow_formula(
        self, tmp_path: Path, hub: Path, kind: str, pooling: str
    ) -> None:
        written = write_with_text_tower(tmp_path / "m", hub, kind, hf_pooler_type=pooling)
        loaded = load_model(str(written.folder), choice=CPU)
        texts = [tokenize_text(loaded, caption) for caption in CAPTIONS]
        images = F.normalize(torch.randn(3, 24, generator=torch.Generator().manual_seed(1)), dim=-1)
        for text, image, found in zip(texts, images, attribute(loaded, images, texts, layers=2), strict=True):
            ids = torch.tensor(text.ids + text.padding)
            cosine, matrix = relevance(with_gradients(loaded.network), image, ids, layers=2)
            assert found.cosine == pytest.approx(cosine, abs=TOLERANCE)
            rows = matrix[ids != 0].sum(0) if pooling == "mean_pooler" else matrix[0]
            assert rows.abs().max() > 1e-4
            torch.testing.assert_close(found.tokens, rows[: len(text.ids)], rtol=0, atol=TOLERANCE)

    def test_the_model_is_untouched(self, tmp_path: Path, hub: Path, kind: str) -> None:
        loaded = load_model(str(write_with_text_tower(tmp_path / "m", hub, kind).folder), choice=CPU)
        before = {name: value.clone() for name, value in loaded.network.state_dict().items()}
        text = tokenize_text(loaded, CAPTIONS[0])
        attribute(loaded, F.normalize(torch.ones(1, 24), dim=-1), [text], layers=1)
        assert all(torch.equal(value, before[name]) for name, value in loaded.network.state_dict().items())
        assert not any(parameter.requires_grad for parameter in loaded.network.parameters())

    def test_a_vector_that_no_token_leads_to_is_refused(self, tmp_path: Path, hub: Path, kind: str) -> None:
        loaded = load_model(
            str(write_with_text_tower(tmp_path / "m", hub, kind, hf_pooler_type="cls_pooler").folder), choice=CPU
        )
        loaded.network.text.pooler = import_open_clip().hf_model.MaxPooler()
        text = tokenize_text(loaded, CAPTIONS[0])
        with pytest.raises(UsageError, match="not pooled from tokens"):
            attribute(loaded, F.normalize(torch.ones(1, 24), dim=-1), [text], layers=1)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"model_type": "bert"}, "model type 'bert', which is not served"),
        ({"model_type": "siglip2"}, "pictures of variable resolution"),
        ({"model_type": "clip", "text_config": {"hidden_act": "relu"}}, "the activations quick_gelu, relu"),
        ({"model_type": "clip", "text_config": {"hidden_size": "x"}}, "sizes that are no numbers"),
        ({"model_type": "clip", "vision_config": {"num_hidden_layers": 10**9}}, "layers must be a whole number"),
        ({"model_type": "siglip", "vision_config": {"vision_use_head": False}}, "without a pooled vector"),
    ],
)
def test_configs_that_are_refused(tmp_path: Path, content: dict[str, Any], why: str) -> None:
    write_with_transformers(tmp_path, "CLIP")
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelMismatch, match=why):
        load_model(str(tmp_path), choice=CPU)
