"""``clipalign classify``: pictures and classes; the best classes of each, and with ``--explain`` why.

For one picture nothing but the result is written; several go record by record through :mod:`.many`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from clipalign import options
from clipalign.batch.destination import refuse_sources
from clipalign.commands.classes import describe_with_model, read_classes, ready_classifier
from clipalign.commands.model import choose_model
from clipalign.errors import EXIT_DONE, UsageError
from clipalign.registry import find_model
from clipalign.report import chosen_batch_format, chosen_format, configure, render
from clipalign.report.console import notices
from clipalign.settings import Settings, flag_name, resolve

if TYPE_CHECKING:
    from clipalign.inputs.pictures import Pictures
    from clipalign.methods.classify_batch import ClassifyScorer
    from clipalign.pipeline.descriptions import Classes
    from clipalign.pipeline.loaded import LoadedModel

STDIN: Final = "-"

LARGE_PX: Final = 640
"""Longer side of the picture on a page of its own."""


def classify(
    image: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE…", help="Paths, folders of pictures, http(s) URLs, or - for standard input."),
    ] = None,
    labels: options.Labels = None,
    descriptions: options.Descriptions = None,
    dataset: options.DatasetClasses = None,
    data_root: options.DataRoot = None,
    describe_with: options.DescribeWith = None,
    method: options.Method = None,
    crops: options.Crops = None,
    alpha: options.Alpha = None,
    image_logscale: options.ImageLogscale = None,
    text_logscale: options.TextLogscale = None,
    prompt: options.Prompt = None,
    templates: options.Templates = None,
    words: options.Words = None,
    top: options.TopClasses = None,
    explain: options.Explain = None,
    format: options.Format = None,
    input: options.Input = None,
    image_root: options.ImageRoot = None,
    output: options.OutputFile = None,
    resume: options.Resume = None,
    overwrite: options.Overwrite = None,
    on_error: options.OnError = None,
    shard: options.Shard = None,
    model: options.Model = None,
    device: options.Device = None,
    precision: options.Precision = None,
    batch_size: options.BatchSize = None,
    threads: options.Threads = None,
    seed: options.Seed = None,
    cache_dir: options.CacheDir = None,
    offline: options.Offline = None,
    download: options.Download = None,
    accept_license: options.AcceptLicense = None,
    quiet: options.Quiet = None,
    verbose: options.Verbose = None,
    debug: options.Debug = None,
) -> int:
    """Say which class a picture shows, and with --explain which part of it and which sentence said so.

    Random crops of the picture meet sentences about each class, both weighted (WCA, arXiv 2406.02915). A score is a
    cosine, -1 to 1; higher fits better, and only scores of one picture compare.

    Examples:
      clipalign classify photo.jpg --labels animals.txt
      clipalign classify photo.jpg --descriptions animals.json --explain
      clipalign classify photo.jpg --descriptions a.json --explain -o why.html
      clipalign classify photos/ --descriptions animals.json --output found.csv
      clipalign classify a.jpg --labels animals.txt --describe-with URL MODEL
    """
    typed = {
        "labels": labels, "descriptions": descriptions, "dataset": dataset, "data_root": data_root, "method": method,
        "crops": crops, "alpha": alpha, "image_logscale": image_logscale, "text_logscale": text_logscale,
        "prompt": prompt, "templates": templates, "words": words, "top": top, "explain": explain, "format": format,
        "input": input, "image_root": image_root, "output": output, "resume": resume, "overwrite": overwrite,
        "on_error": on_error, "shard": shard,
        "model": model, "device": device, "precision": precision, "batch_size": batch_size, "threads": threads,
        "seed": seed, "cache_dir": cache_dir, "offline": offline, "download": download,
        "accept_license": accept_license or None,
        "quiet": quiet, "verbose": verbose, "debug": debug,
    }  # fmt: skip
    settings = resolve("classify", typed)
    configure(settings)
    pictures = _pictures(image or [], settings, typed)
    refuse_sources(settings.output, image or [], "IMAGE")
    if pictures is not None and pictures.single and settings.on_error != "skip":
        return _classify_one(pictures.names[0], settings, describe_with)
    return _classify_many(pictures, settings, describe_with)


def _pictures(images: list[str], settings: Settings, typed: dict[str, Any]) -> Pictures | None:
    """What was named as arguments, looked at; None where ``--input`` has the pictures."""
    if typed["input"] or (settings.input and not images):
        if images:
            raise UsageError("IMAGE and --input exclude each other", hint="give either", input="IMAGE")
        return None
    if not images:
        raise UsageError(
            "missing IMAGE", hint="give pictures, folders of pictures, or --input FILE; see --help", input="IMAGE"
        )
    if typed["image_root"]:
        raise UsageError(
            "--image-root is for --input", hint="name the pictures with their folder", input="--image-root"
        )
    for one in images:
        if not one.strip():
            raise UsageError("IMAGE is empty", hint="give a path, an http(s) URL, or -", input="IMAGE")
    if images.count(STDIN) > 1:
        raise UsageError("standard input can be read once", hint="give - once", input="IMAGE")
    if STDIN in images and (sys.stdin is None or sys.stdin.isatty()):
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"IMAGE is - but standard input is {state}", hint="pipe a picture in", input="IMAGE")

    from clipalign.inputs.pictures import Pictures

    pictures = Pictures(images)
    if pictures.single:
        for name in ("resume", "shard"):
            if typed[name]:
                flag = flag_name(name)
                raise UsageError(f"{flag} is for many pictures", hint="name several, or a folder", input=flag)
    pictures.check()
    return pictures


def _classify_one(image: str, settings: Settings, describe_with: tuple[str, str] | None) -> int:
    """The route, cheapest check first: files and names before torch, the picture before the model."""
    row = find_model(settings.model)
    classes = read_classes(settings, describe_with)
    chosen = choose_model(row, settings)
    classes = describe_with_model(classes, describe_with, settings)

    from clipalign.pipeline.images import open_image, thumbnail_of

    format = chosen_format(settings) if settings.output is None else chosen_batch_format(settings)
    picture = open_image(image, offline=settings.offline)
    result = ready_classifier(chosen.load(), classes, settings).classify(picture, image_name=image)
    for warning in result.warnings:
        notices.warn(warning)
    render(
        result,
        format=format,
        thumbnail=thumbnail_of(picture, LARGE_PX) if format == "html" else None,
        output=settings.output,
        overwrite=settings.overwrite,
    )
    return EXIT_DONE


def _classify_many(pictures: Pictures | None, settings: Settings, describe_with: tuple[str, str] | None) -> int:
    from clipalign.commands.many import run_many
    from clipalign.report.classify import ClassifyView

    classes: Classes = read_classes(settings, describe_with)

    def scorer(loaded: LoadedModel) -> ClassifyScorer:
        from clipalign.methods.classify_batch import ClassifyScorer

        described = describe_with_model(classes, describe_with, settings)
        return ClassifyScorer(ready_classifier(loaded, described, settings))

    return run_many(settings, ClassifyView(), scorer, source=pictures, needs_text=False)
