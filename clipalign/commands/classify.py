"""``clipalign classify``: pictures and classes; the best classes to stdout, and with ``--explain`` why."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from clipalign import options
from clipalign.commands.classes import describe_with_model, read_classes, ready_classifier
from clipalign.commands.model import choose_model
from clipalign.errors import EXIT_DONE, UsageError
from clipalign.registry import find_model
from clipalign.report import chosen_format, configure, render
from clipalign.report.console import notices
from clipalign.settings import Settings, resolve

STDIN: Final = "-"


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
      clipalign classify photos/ --descriptions animals.json --output found.csv
      clipalign classify a.jpg --labels animals.txt --describe-with URL MODEL
    """
    typed = {
        "labels": labels, "descriptions": descriptions, "dataset": dataset, "data_root": data_root, "method": method,
        "crops": crops, "alpha": alpha, "image_logscale": image_logscale, "text_logscale": text_logscale,
        "prompt": prompt, "templates": templates, "words": words, "top": top, "explain": explain, "format": format,
        "model": model, "device": device, "precision": precision, "batch_size": batch_size, "threads": threads,
        "seed": seed, "cache_dir": cache_dir, "offline": offline, "download": download,
        "accept_license": accept_license or None,
        "quiet": quiet, "verbose": verbose, "debug": debug,
    }  # fmt: skip
    settings = resolve("classify", typed)
    configure(settings)
    images = image or []
    _check_images(images)
    return _classify_one(images[0], settings, describe_with)


def _check_images(images: list[str]) -> None:
    if not images:
        raise UsageError("missing IMAGE", hint="give a picture, a folder of pictures, or --input FILE", input="IMAGE")
    for one in images:
        if not one.strip():
            raise UsageError("IMAGE is empty", hint="give a path, an http(s) URL, or -", input="IMAGE")
    if STDIN in images and (sys.stdin is None or sys.stdin.isatty()):
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"IMAGE is - but standard input is {state}", hint="pipe a picture in", input="IMAGE")


def _classify_one(image: str, settings: Settings, describe_with: tuple[str, str] | None) -> int:
    """The route, cheapest check first: files and names before torch, the picture before the model."""
    row = find_model(settings.model)
    classes = read_classes(settings, describe_with)
    chosen = choose_model(row, settings)
    classes = describe_with_model(classes, describe_with, settings)

    from clipalign.methods.classify import Picture, classify_picture
    from clipalign.pipeline.images import open_image

    picture = open_image(image, offline=settings.offline)
    classifier = ready_classifier(chosen.load(), classes, settings)
    result = classify_picture(classifier, Picture(picture, image_name=image))
    for warning in result.warnings:
        notices.warn(warning)
    render(result, format=chosen_format(settings))
    return EXIT_DONE
