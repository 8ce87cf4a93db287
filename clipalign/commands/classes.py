"""Where the classes of ``classify`` come from, and their vectors: files, a data set, a language model; the cache.

Every mistake in a file is said before torch is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from clipalign.errors import UsageError
from clipalign.pipeline.descriptions import (
    DEFAULT_PROMPT,
    PLACE,
    Classes,
    class_texts,
    default_method,
    read_descriptions,
    read_labels,
    read_lines,
)
from clipalign.report.console import notices, progress_console
from clipalign.settings import Settings
from clipalign.weights import cache_folder

if TYPE_CHECKING:
    from clipalign.methods.classify import Classifier, ClassifySettings
    from clipalign.pipeline.class_vectors import Progress
    from clipalign.pipeline.model import LoadedModel

VECTORS_FOLDER: Final = "class-vectors"
"""In the cache folder."""

_FEW_TEXTS: Final = 200
"""Up to here no progress is shown: a second or two."""


def read_classes(settings: Settings, describe_with: tuple[str, str] | None = None) -> Classes:
    """The classes that were asked for, checked; a language model is asked where the user named one.

    Raises:
        UsageError: no classes or too many sources of them, a file of the wrong shape, a class without descriptions.
    """
    _check_sources(settings, describe_with)
    classes = Classes(
        names=tuple(read_labels(settings.labels)) if settings.labels else (),
        descriptions=read_descriptions(settings.descriptions) if settings.descriptions else None,
        templates=tuple(read_lines(settings.templates, what="templates")) if settings.templates else (),
        words=tuple(read_lines(settings.words, what="words")) if settings.words else (),
    )
    _check(classes, settings)
    return classes


def _check_sources(settings: Settings, describe_with: tuple[str, str] | None) -> None:
    if settings.labels is None and settings.descriptions is None and settings.dataset is None:
        raise UsageError(
            "there are no classes to choose from",
            hint="give --labels FILE, --descriptions FILE.json or --dataset NAME",
            input="--labels",
        )


def _check(classes: Classes, settings: Settings) -> None:
    """The method refuses such classes too, but only when torch is there."""
    if not classes.templates:
        classes = replace(classes, templates=(PLACE,))  # the method brings its own
    method = settings.method or default_method(classes)
    class_texts(classes, method=method, prompt=settings.prompt or DEFAULT_PROMPT, seed=settings.seed)


def classify_settings(settings: Settings) -> ClassifySettings:
    """What of the settings concerns the method."""
    from clipalign.methods.classify import ClassifySettings

    names = [field.name for field in fields(ClassifySettings)]
    given: dict[str, Any] = {name: getattr(settings, name) for name in names}
    return ClassifySettings(**{name: value for name, value in given.items() if value is not None})


def ready_classifier(loaded: LoadedModel, classes: Classes, settings: Settings) -> Classifier:
    """The classifier, its classes encoded or read from the cache; what holds for all pictures is said here.

    Raises:
        UsageError, ModelMismatch.
    """
    from clipalign.methods.classify import make_classifier, texts_of

    chosen = classify_settings(settings)
    total = sum(len(one.texts) for one in texts_of(classes, chosen)[1])
    with _progress(total, quiet=settings.quiet) as advance:
        cache = cache_folder(settings.cache_dir) / VECTORS_FOLDER
        classifier = make_classifier(loaded, classes, chosen, cache=cache, progress=advance)
    if classifier.vectors.cached:
        notices.inform(f"the vectors of {len(classifier.classes)} classes came from {cache}")
    for note in classifier.notes:
        notices.warn(note)
    return classifier


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Progress | None]:
    """A bar on a terminal's stderr where it takes a while, nothing elsewhere."""
    console = progress_console()
    if quiet or console is None or total <= _FEW_TEXTS:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("texts about classes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("texts", total=total)
        yield lambda texts: bar.advance(task, texts)
