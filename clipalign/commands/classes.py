"""Where the classes of ``classify`` come from, and their vectors: files, a data set, a language model; the cache.

Every mistake in a file is said before torch is imported.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.cache import DATASETS_FOLDER, VECTORS_FOLDER, cache_folder, data_folder
from clipalign.config.choices import DESCRIBED_DATASETS
from clipalign.config.suggest import meant_by
from clipalign.config.values import Settings
from clipalign.data.classes import PLACE, PUBLISHED, Classes, read_dataset, read_descriptions, read_labels, read_lines
from clipalign.errors import UnknownDataset, UsageError
from clipalign.models.class_vectors import DEFAULT_PROMPT, class_texts, default_method
from clipalign.output.console import notices
from clipalign.output.progress import Progress

if TYPE_CHECKING:
    from clipalign.methods.classify import Classifier
    from clipalign.methods.settings import ClassifySettings
    from clipalign.models.model import LoadedModel

DESCRIPTIONS_FOLDER: Final = "descriptions"
"""In the cache folder."""

WORDS_FOLDER: Final = "waffle-words"
"""Among the data sets: words to draw from."""

_FEW_TEXTS: Final = 200
"""Of fewer no progress is shown: a second or two."""


def read_classes(settings: Settings, describe_with: tuple[str, str] | None = None) -> Classes:
    """The classes that were asked for, checked; those that a language model is still to describe have names alone.

    Raises:
        UsageError: no classes or too many sources of them, a file of the wrong shape, a class without descriptions.
        UnknownDataset: nobody published descriptions of that data set.
        MissingDataset: they are published, and not on this machine.
    """
    _check_sources(settings, describe_with)
    if settings.dataset is not None:
        method = settings.method or "wca"
        classes = read_dataset(_dataset_folders(settings), _dataset_name(settings.dataset), method=method)
    else:
        classes = Classes(
            names=tuple(read_labels(settings.labels)) if settings.labels else (),
            descriptions=read_descriptions(settings.descriptions) if settings.descriptions else None,
        )
    if settings.templates:
        classes = replace(classes, templates=tuple(read_lines(settings.templates, what="templates")))
    if settings.method == "waffle" and (words := settings.words or _words_file(settings)):
        classes = replace(classes, words=tuple(read_lines(words, what="words")))
    if describe_with is None:
        _check(classes, settings)
    return classes


def describe_with_model(classes: Classes, describe_with: tuple[str, str] | None, settings: Settings) -> Classes:
    """The classes with what a language model says about them, where the user named one.

    Raises:
        UsageError: offline, and a class is not described yet.
        DownloadFailed: the server cannot be reached, refuses, or gives no sentences.
    """
    if describe_with is None:
        return classes
    described = replace(classes, descriptions=_described(classes.names, describe_with, settings))
    _check(described, settings)
    return described


def _check_sources(settings: Settings, describe_with: tuple[str, str] | None) -> None:
    if settings.labels is None and settings.descriptions is None and settings.dataset is None:
        raise UsageError(
            "there are no classes to choose from",
            hint="give --labels FILE, --descriptions FILE.json or --dataset NAME",
            input="--labels",
        )
    if settings.dataset is not None and (settings.labels or settings.descriptions):
        other = "--labels" if settings.labels else "--descriptions"
        raise UsageError(f"--dataset and {other} both name the classes", hint="give one of them", input="--dataset")
    if describe_with is None:
        return
    if settings.labels is None or settings.descriptions is not None:
        raise UsageError(
            "--describe-with describes the classes of --labels",
            hint="give --labels FILE, and no --descriptions or --dataset",
            input="--describe-with",
        )
    if settings.method in ("clip", "clip-e"):
        raise UsageError(
            f"the method {settings.method} uses no descriptions", hint="leave out --describe-with", input="--method"
        )
    from clipalign.data.describe import Describer

    Describer.at(*describe_with)


def _dataset_name(name: str) -> str:
    known = {one.replace("_", "-"): one for one in DESCRIBED_DATASETS}
    found = known.get(name.lower().replace("_", "-"))
    if found is None:
        raise UnknownDataset(
            f"there are no published descriptions of {name!r}",
            hint=meant_by(name, DESCRIBED_DATASETS) or f"one of {', '.join(DESCRIBED_DATASETS)}",
            input="--dataset",
        )
    return found


def _dataset_folders(settings: Settings) -> list[Path]:
    """Where the published files may lie: where the user says, or where ``download`` puts them."""
    bases = [settings.data_root] if settings.data_root else [cache_folder(settings.cache_dir) / DATASETS_FOLDER]
    return [folder for base in bases for folder in (base / PUBLISHED, base)]


def _words_file(settings: Settings) -> Path | None:
    """What ``clipalign download waffle-words`` fetched, if it did."""
    folder = data_folder(WORDS_FOLDER, cache_dir=settings.cache_dir)
    return next(iter(sorted(folder.glob("*.txt"))), None)


def _described(
    names: tuple[str, ...], describe_with: tuple[str, str], settings: Settings
) -> dict[str, tuple[str, ...]]:
    """What a language model says about the classes, and where that is kept."""
    from clipalign.data.describe import Describer, describe_classes

    describer = Describer.at(*describe_with)
    folder = cache_folder(settings.cache_dir) / DESCRIPTIONS_FOLDER
    with Progress(("class described", "classes described"), total=len(names)) as progress:
        found, file = describe_classes(
            names, describer, folder=folder, offline=settings.offline, tell=notices.tell, progress=progress.advance
        )
    notices.tell(f"descriptions by {describer.model}: {file}")
    return found


def _check(classes: Classes, settings: Settings) -> None:
    """The method refuses such classes too, but only when torch is there."""
    if not classes.templates:
        classes = replace(classes, templates=(PLACE,))  # the method brings its own
    method = settings.method or default_method(classes)
    class_texts(classes, method=method, prompt=settings.prompt or DEFAULT_PROMPT, seed=settings.seed)


def classify_settings(settings: Settings) -> ClassifySettings:
    """What of the settings concerns the method."""
    from clipalign.methods.settings import ClassifySettings

    names = [field.name for field in fields(ClassifySettings)]
    given: dict[str, Any] = {name: getattr(settings, name) for name in names}
    return ClassifySettings(**{name: value for name, value in given.items() if value is not None})


def ready_classifier(loaded: LoadedModel, classes: Classes, settings: Settings) -> Classifier:
    """The classifier, its classes encoded or read from the cache; what holds for all pictures is said here.

    Raises:
        UsageError, ModelMismatch.
    """
    from clipalign.methods.classify import make_classifier
    from clipalign.methods.settings import texts_of

    chosen = classify_settings(settings)
    total = sum(len(one.texts) for one in texts_of(classes, chosen)[1])
    with Progress(("text", "texts"), total=total, shown=total >= _FEW_TEXTS) as progress:
        cache = cache_folder(settings.cache_dir) / VECTORS_FOLDER
        classifier = make_classifier(loaded, classes, chosen, cache=cache, progress=progress.advance)
    if classifier.vectors.cached:
        notices.inform(f"the vectors of {len(classifier.classes)} classes came from {cache}")
    for note in classifier.notes:
        notices.warn(note)
    return classifier
