"""Training of the embedded model: the same scenes and the same weights however often it is interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from clipalign import load
from clipalign.models.load import import_open_clip
from clipalign.models.registry import find_model
from clipalign.models.weights import sha256_of
from clipalign.pictogram.batches import FIELDS, NO_KIND, BatchMaker, SceneBatch, make_sample
from clipalign.pictogram.captions import FOIL_WEIGHTS, VARIED_KINDS, held_out, join_parts, vocabulary
from clipalign.pictogram.export import EMBEDDING, POSITIONS, compact, export, reachable_tokens
from clipalign.pictogram.training import (
    Heads,
    Run,
    TrainingSettings,
    build_network,
    compute_losses,
    embed_images,
    embed_texts,
    grow,
    keep_reachable_rows,
    learning_rate,
    normalize,
    row_of_token,
    shipped_weights,
    train,
    word_attributions,
)

SETTINGS = TrainingSettings(steps=4, batch_size=3, foils=1, warmup_steps=2)


@pytest.fixture(scope="module")
def maker() -> BatchMaker:
    return BatchMaker(import_open_clip().get_tokenizer("ViT-B-32").encode)


@pytest.fixture(scope="module")
def batch(maker: BatchMaker) -> SceneBatch:
    return normalize(maker.make([make_sample(n, split="tests", foils=2) for n in range(4)]))


def test_the_tokens_of_a_batch_are_those_of_the_whole_text(maker: BatchMaker) -> None:
    tokenizer = import_open_clip().get_tokenizer("ViT-B-32")
    for number in range(20):
        sample = make_sample(number, split="tests", foils=0)
        ids = maker.make([sample]).ids[0]
        expected = tokenizer([sample.prefix + sample.texts[0].text], context_length=248)[0]
        assert ids.tolist() == expected[: len(ids)].tolist()


def test_a_batch_marks_exactly_the_swapped_words_as_false(maker: BatchMaker) -> None:
    for number in range(20):
        sample = make_sample(number, split="tests", foils=1)
        true_line, foil_line = maker.make([sample]).false_words
        foil = sample.texts[1]
        assert (true_line == 1).sum() == 0
        start, end = foil.false or (0, 0)
        assert (foil_line == 1).sum() == len(foil.text[start:end].split())


def test_long_captions_are_compared_with_a_wrong_detail_and_with_one_detail_less(maker: BatchMaker) -> None:
    long = [s for s in (make_sample(n, split="tests", foils=2) for n in range(100)) if s.caption is None]
    assert long
    for sample in long:
        true, wrong, shorter = sample.texts
        assert wrong.text.startswith(true.text)
        assert true.text.startswith(shorter.text)
    batch = maker.make(long)
    assert batch.holds.tolist() == [[1, 0, 1]] * len(long)
    assert (batch.false_words == -1).all()


def test_no_training_scene_has_a_combination_that_is_held_out() -> None:
    scenes = [make_sample(n, split="tests", foils=1).scene for n in range(100)]
    assert not any(held_out(scene, index) for scene in scenes for index in range(len(scene.groups)))


def test_a_batch_tells_of_each_group_no_more_than_picture_or_caption_do(maker: BatchMaker) -> None:
    samples = [make_sample(n, split="tests", foils=1) for n in range(100)]
    batch = maker.make(samples)
    told = batch.named_groups >= 0
    for sample, groups, named in zip(samples, batch.groups, batch.named_groups, strict=True):
        assert [row[0] for row in groups.tolist() if row[0] >= 0] == [group.kind for group in sample.scene.groups]
        rows = {row[0]: row for row in groups.tolist()}
        for row in (row for row in named.tolist() if row[0] >= 0):
            assert all(value in (-1, rows[row[0]][at]) for at, value in enumerate(row))
    assert told.any((0, 1)).all()
    assert batch.groups[..., 1:].amax((0, 1)).tolist() == [values - 1 for values in FIELDS.values()]


def test_every_thing_stands_in_a_cell(batch: SceneBatch) -> None:
    for number, cells in enumerate(batch.cells):
        scene = make_sample(number, split="tests", foils=2).scene
        assert set(cells.flatten().tolist()) == {NO_KIND, *scene.kinds}


def test_foils_of_every_kind_are_trained() -> None:
    assert set(FOIL_WEIGHTS) == set(VARIED_KINDS)
    kinds = set()
    for caption, texts in ((s.caption, s.texts) for s in (make_sample(n, split="tests", foils=2) for n in range(200))):
        if caption:  # an article before the foil may have another length
            starts = [text.false[0] for text in texts if text.false]
            for part, (start, _) in zip(caption.parts, join_parts(caption.parts)[1], strict=True):
                kinds |= {part.slot for other in starts if part.slot and abs(start - other) <= 1}
    assert kinds == set(VARIED_KINDS)


def test_the_spelled_out_towers_are_open_clips(batch: SceneBatch) -> None:
    network = build_network(0).eval()
    with torch.no_grad():
        images, _ = embed_images(network, batch.pixels)
        texts = embed_texts(network, batch.ids, batch.ends).vectors
        padded = torch.zeros(len(batch.ids), network.context_length, dtype=torch.long)
        padded[:, : batch.ids.shape[1]] = batch.ids
        torch.testing.assert_close(images, network.encode_image(batch.pixels, normalize=True), atol=1e-5, rtol=0)
        torch.testing.assert_close(texts, network.encode_text(padded, normalize=True), atol=1e-5, rtol=0)


def test_the_attribution_objective_reaches_every_layer_of_the_text_tower(batch: SceneBatch) -> None:
    network = build_network(0)
    rows = torch.arange(len(batch.ids))
    embedded = embed_texts(network, batch.ids, batch.ends)
    images, _ = embed_images(network, batch.pixels)
    owner = torch.arange(len(images)).repeat(3)
    attributions = word_attributions(embedded, (embedded.vectors * images[owner]).sum(-1), batch, rows)
    attributions.square().sum().backward()
    assert attributions.shape == batch.false_words.shape
    assert all(block.attn.in_proj_weight.grad.abs().sum() > 0 for block in network.transformer.resblocks)


def test_the_objective_falls_when_it_is_followed(batch: SceneBatch) -> None:
    network = build_network(0)
    heads = Heads(512, 256)
    optimizer = torch.optim.SGD([*network.parameters(), *heads.parameters()], lr=1e-3)
    totals = []
    for _ in range(3):
        total = torch.stack(list(compute_losses(network, heads, batch, attribution=True).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[2] < totals[0]


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    settings = TrainingSettings(steps=300, warmup_steps=10, decay_share=0.5)
    rates = [learning_rate(step, settings) for step in range(300)]
    assert rates[0] == pytest.approx(settings.learning_rate / 10)
    assert rates[10:150] == [settings.learning_rate] * 140
    assert rates[150:] == sorted(rates[150:], reverse=True)
    assert rates[-1] < settings.learning_rate / 100


def test_a_run_that_was_interrupted_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole", SETTINGS)
    for _ in range(SETTINGS.steps):
        whole.train_step()
    first = Run(tmp_path / "parts", SETTINGS)
    for _ in range(2):
        first.train_step()
    first.save()
    second = Run(tmp_path / "parts", SETTINGS)
    assert second.step == 2
    for _ in range(SETTINGS.steps - 2):
        second.train_step()
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], value, atol=1e-6, rtol=0, msg=name)


def test_batches_that_another_process_draws_are_those_of_the_steps(tmp_path: Path) -> None:
    weights = load_file(train(tmp_path / "run", replace(SETTINGS, steps=2)))
    run = Run(tmp_path / "other", replace(SETTINGS, steps=2))
    for _ in range(2):
        run.train_step()
    for name, value in compact(run.network.state_dict()).items():
        torch.testing.assert_close(weights[name], value, atol=1e-3, rtol=0, msg=name)


def test_training_begins_with_what_the_shipped_weights_say(batch: SceneBatch) -> None:
    network = build_network(0).eval()
    tensors, _ = shipped_weights()
    keep_reachable_rows(network)
    grow(network, tensors)
    shipped = load("pictogram-long", device="cpu").loaded.network
    with torch.no_grad():
        torch.testing.assert_close(
            embed_images(network, batch.pixels)[0],
            shipped.encode_image(batch.pixels, normalize=True),
            atol=1e-4,
            rtol=0,
        )


def test_another_seed_gives_other_weights() -> None:
    one, other = (build_network(seed).text_projection for seed in (0, 1))
    assert not torch.equal(one, other)
    assert replace(SETTINGS, seed=1) != SETTINGS


def test_a_shrunk_embedding_gives_the_same_vectors(batch: SceneBatch) -> None:
    network = build_network(0).eval()
    with torch.no_grad():
        expected = embed_texts(network, batch.ids, batch.ends).vectors
        keep_reachable_rows(network)
        rows = row_of_token()
        shrunk = batch.ids.clone().apply_(lambda token: rows.get(token, 0))
        torch.testing.assert_close(embed_texts(network, shrunk, batch.ends).vectors, expected, atol=1e-6, rtol=0)


def test_the_saved_weights_hold_the_reachable_rows_in_half_precision_and_the_rest_whole(tmp_path: Path) -> None:
    run = Run(tmp_path, SETTINGS)
    run.save()
    saved = load_file(tmp_path / "weights.safetensors")
    state = run.network.state_dict()
    assert saved["token_embedding.rows"].tolist() == reachable_tokens()
    assert len(saved["token_embedding.values"]) == len(reachable_tokens()) < 1000
    assert set(saved) - {"token_embedding.rows", "token_embedding.values"} == set(state) - {EMBEDDING}
    torch.testing.assert_close(saved["text_projection"].float(), state["text_projection"], atol=1e-3, rtol=0)
    assert saved["text_projection"].dtype == torch.float16
    assert torch.equal(saved["visual.bn1.running_var"], state["visual.bn1.running_var"])


def test_both_models_are_shipped_with_one_set_of_weights(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    run.save()
    short, long = export(tmp_path / "run" / "weights.safetensors", tmp_path)
    state = compact(run.network.state_dict())
    own, shared = load_file(long), load_file(short)
    assert set(own) == {POSITIONS}
    assert torch.equal(own[POSITIONS], state[POSITIONS])
    assert torch.equal(shared.pop(POSITIONS), state.pop(POSITIONS)[:77])
    assert all(torch.equal(shared[name], value) for name, value in state.items())
    assert (tmp_path / "vocabulary.txt").read_text(encoding="utf-8").split() == sorted(vocabulary())
    with safe_open(long, "pt") as file:  # its own hash stands for both files
        assert file.metadata()["base_sha256"] == sha256_of(short)


def test_the_shipped_models_are_one() -> None:
    source = find_model("pictogram-long").weights[0]
    with safe_open(source.file, "pt") as file:
        assert file.metadata()["base_sha256"] == sha256_of(Path(source.base))
        assert list(file.keys()) == [POSITIONS]
