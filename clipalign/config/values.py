"""Every setting of a run in one frozen record, whatever it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipalign.models.registry import DEFAULT_MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of a run, resolved and checked; None where the command or the model decides.

    Attributes:
        model: specification of the model.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; whether it is there is found out later.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        batch_size: images, and texts, a batch, at least 1; None for ``auto``.
        threads: CPU threads, at least 1.
        seed: 0 to 2^63 - 1.
        cache_dir: clipalign's own cache folder, where data sets are kept, and weights too; None for the usual places.
        offline: whether the network is forbidden.
        timeout: seconds for a picture at an address, 0.1 to 3600; None for 30.
        format: one of ``choices.FORMATS`` that the command has; None for the one that suits stdout or the output.
        quiet: nothing on stderr but errors.
        verbose: reasons too.
        debug: tracebacks.
        mode: ``threshold`` or ``most-negative``.
        epsilon: threshold on a word's attribution, finite; in training the margin of the objective.
        layers: text layers averaged, at least 1.
        template: put before every caption.
        alignment: ``published`` or ``characters``.
        check: whether a finding sets the exit status.
        top: rows of a table, or classes that are named, at least 1.
        dataset: name of a benchmark; whether there is one is found out later.
        limit: samples of a benchmark, at least 1; None for all.
        output: folder of a benchmark's or a training run; file for all other results.
        input: files, folders or ``-`` to read many records from.
        image_root: folder that relative image names of the input are looked for in.
        shard: which contiguous part of the input is done, and of how many; both from 1 on.
        resume: go on where an earlier run into the same output ended.
        overwrite: replace an output that exists.
        on_error: ``skip`` a record that cannot be read, or ``fail``; None for skip with many records, fail with one.
        download: fetch what is missing; None to fetch where a person is looking.
        accept_license: names whose license the user accepts.
        labels: file with a class name a line.
        descriptions: JSON file of descriptions by class.
        method: of ``classify``.
        crops: random crops of a picture, at least 1.
        alpha: smallest side of a crop as a share of the picture's shorter side, 0 to 0.9.
        explain: whether a classification comes with crops, sentences and contributions.
        image_logscale: logarithm of the scale of the crops' weights.
        text_logscale: logarithm of the scale of the descriptions' weights.
        prompt: a class's name in a sentence, ``{}`` for the name.
        templates: file with a prompt template a line.
        words: file with a word a line.
        text_file: files with a long text each; ``-`` for standard input.
        by: ``sentence`` or ``phrase``.
        margin: how much a sentence may lower the score before it is found, at least 0.
        stretch: whether a model of a short context is stretched to read long texts; None for what suits the command.
        data_root: folder of a data set, or of several by name; None for where ``download`` puts them.
        protocol: ``paper``: pictures of data sets as they lie in the file, or ``exif``: turned the way EXIF says.
        compare: two results of ``eval``, or the folders of their runs.
        report: ``html``: a page about a benchmark's run, in its folder.
        sweep: settings with the values to go through, each as ``NAME=VALUE,VALUE``.
        calibrate: whether a benchmark is used to find the layers and the epsilon that suit a model.
        save: settings file that what was found is put into.
        data: training samples: a prepared folder, ``pictogram`` or ``pictogram:N``.
        prepare: raw captions to prepare training samples from.
        init: the model that training starts from.
        epochs: over the training samples, at least 1.
        accumulate: batches a training step, at least 1.
        draws: beginnings of a caption that a training step reads, at least 1.
        learning_rate: at its height.
        warmup_steps: steps in which it rises, at least 0.
        weight_decay: of training, at least 0.
        clip_norm: what the norm of gradients is cut to, above 0.
        lambda_contrastive: weight of telling captions of a batch apart, at least 0.
        lambda_detail: weight of true details, at least 0.
        lambda_negative: weight of wrong details, at least 0.
        lambda_short: weight of telling short captions and pictures apart, at least 0.
        gather: whether captions are told apart over all processes.
        freeze: towers that do not learn, ``image`` or ``text``.
        blend: share of the trained weights in those that are kept, from 0.01 to 1; the rest are the start's.
        recompute: whether training saves memory by computing inner states twice.
        held_out: samples for validation, at least 0.
        validate_every: training steps between validations, at least 1; None for once an epoch.
        save_every: training steps between checkpoints, at least 1.
        workers: processes that prepare, or threads that decode, at least 1.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    threads: int | None = None
    seed: int = 0
    cache_dir: Path | None = None
    offline: bool = False
    timeout: float | None = None
    format: str | None = None
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    mode: str | None = None
    epsilon: float | None = None
    layers: int | None = None
    template: str | None = None
    alignment: str | None = None
    check: bool = False
    top: int | None = None
    dataset: str | None = None
    limit: int | None = None
    output: Path | None = None
    input: tuple[str, ...] = ()
    image_root: Path | None = None
    shard: tuple[int, int] | None = None
    resume: bool = False
    overwrite: bool = False
    on_error: str | None = None
    download: bool | None = None
    accept_license: tuple[str, ...] = ()
    labels: Path | None = None
    descriptions: Path | None = None
    method: str | None = None
    crops: int | None = None
    alpha: float | None = None
    explain: bool = False
    image_logscale: float | None = None
    text_logscale: float | None = None
    prompt: str | None = None
    templates: Path | None = None
    words: Path | None = None
    text_file: tuple[str, ...] = ()
    by: str | None = None
    margin: float | None = None
    stretch: bool | None = None
    data_root: Path | None = None
    compare: tuple[Path, Path] | None = None
    report: str | None = None
    sweep: tuple[str, ...] = ()
    calibrate: bool = False
    save: Path | None = None
    protocol: str | None = None
    data: str | None = None
    prepare: Path | None = None
    init: str | None = None
    epochs: int | None = None
    accumulate: int | None = None
    draws: int | None = None
    learning_rate: float | None = None
    warmup_steps: int | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    lambda_contrastive: float | None = None
    lambda_detail: float | None = None
    lambda_negative: float | None = None
    lambda_short: float | None = None
    gather: bool = False
    freeze: tuple[str, ...] = ()
    blend: float | None = None
    recompute: bool = False
    held_out: int | None = None
    validate_every: int | None = None
    save_every: int | None = None
    workers: int | None = None
