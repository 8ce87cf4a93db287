"""``clipalign classify``: images and classes; the best classes of each, and with ``--explain`` why.

Every error in a file of classes is reported before torch is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from clipalign.cache import DATASETS_FOLDER, VECTORS_FOLDER, cache_folder
from clipalign.commands.common import (
    STDIN,
    check_image,
    refuse_for_one,
    run_many,
    run_one,
    wants_many,
)
from clipalign.commands.options import expand_options
from clipalign.config.groups import RecordSettings
from clipalign.config.readers import name, pair_of, texts
from clipalign.config.settings import Setting, refuse
from clipalign.config.suggest import suggestion
from clipalign.data.class_texts import class_texts, default_method
from clipalign.data.classes import (
    DESCRIBED_DATASETS,
    PLACE,
    PUBLISHED,
    Classes,
    find_words,
    read_dataset,
    read_descriptions,
    read_labels,
    read_lines,
)
from clipalign.errors import EXIT_DONE, UnknownDataset, UsageError
from clipalign.files import is_folder
from clipalign.methods.settings import ClassFileSettings, ClassifySettings
from clipalign.models.registry import find_model
from clipalign.output.console import notices
from clipalign.output.progress import Progress

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipalign.data.records import Input
    from clipalign.methods.classify import Classifier, ClassifyScorer
    from clipalign.models.model import LoadedModel
    from clipalign.results import ClassifyResult

DESCRIPTIONS_FOLDER: Final = "descriptions"

_FEW_TEXTS: Final = 200


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(ClassifySettings, ClassFileSettings, RecordSettings):
    panel = "Scoring"

    label: Annotated[
        tuple[str, ...],
        Setting("The name of a class. May be repeated.", texts, value="TEXT", file=False, variable=False),
    ] = ()
    labels: Annotated[
        Path | None, Setting("Class names, one per line; - for standard input.", value="FILE", file=False)
    ] = None
    dataset: Annotated[
        str | None,
        Setting(
            f"Use the classes and published descriptions of a data set: {', '.join(DESCRIBED_DATASETS)}.",
            name,
            value="NAME",
            choices=DESCRIBED_DATASETS,
            file=False,
        ),
    ] = None
    describe_with: Annotated[
        tuple[str, str] | None,
        Setting(
            "Let a language model at an OpenAI-compatible address describe the classes; their names are sent there, "
            "and OPENAI_API_KEY where it is set. Its descriptions are kept.",
            pair_of(name, "an address and the name of a model"),
            value="URL MODEL",
            file=False,
            variable=False,
        ),
    ] = None


@expand_options("classify")
def classify(
    image: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE…", help="Paths, folders of images, http(s) URLs, or - for standard input."),
    ] = None,
    *,
    settings: ClassifyOptions,
) -> int:
    """Say which class an image shows, and with --explain which crops and sentences contributed most.

    Random crops of the image are compared with sentences about each class, both weighted (WCA, arXiv 2406.02915). A
    score is a cosine, -1 to 1; higher fits better, and only scores of one image compare.

    Examples:
      clipalign classify photo.jpg --label cat --label dog --probabilities
      clipalign classify photo.jpg --labels animals.txt
      clipalign classify photo.jpg --descriptions animals.json --explain
      clipalign classify photo.jpg --descriptions a.json --explain -o why.html
      clipalign classify photos/ --descriptions animals.json --output found.csv
      clipalign classify a.jpg --labels animals.txt --describe-with URL MODEL
    """
    if str(settings.labels) == STDIN and STDIN in (*(image or ()), *settings.input):
        raise UsageError("only one input can be -", hint="standard input is read once", input=STDIN)
    pictures = None if wants_many(settings, {"IMAGE": image}) else _pictures(image or [], settings)
    if pictures is not None and _is_one(image or []) and settings.on_error != "skip":
        return _classify_one(pictures.name, settings)
    return _classify_many(pictures, settings)


def _pictures(images: list[str], settings: ClassifyOptions) -> Input:
    if not images:
        raise UsageError(
            "missing IMAGE", hint="give images, folders of images, or --input FILE; see --help", input="IMAGE"
        )
    of_input = ("columns", "keep_columns", "image_root")
    refuse(settings, of_input, "{} is for --input", hint="name the images with their folder")
    for one in images:
        check_image(one, settings)
    if images.count(STDIN) > 1:
        raise UsageError("standard input can be read once", hint="give - once", input="IMAGE")

    if _is_one(images):
        of_many = ("keep_vectors", "limit", "resume", "shard")
        refuse_for_one(settings, of_many, what="images", hint="name several, or a folder")

    from clipalign.data.readers import open_pictures

    return open_pictures(images, limit=settings.limit)


def _is_one(images: list[str]) -> bool:
    return len(images) == 1 and (images[0] == STDIN or not is_folder(Path(images[0]).expanduser()))


def _classify_one(image: str, settings: ClassifyOptions) -> int:
    find_model(settings.model)  # a mistyped name is told before anything heavy is imported

    from clipalign.output.classify import ClassifyFormatter

    classes = read_classes(settings)

    def score(loaded: LoadedModel, picture: Image) -> list[ClassifyResult]:
        described = describe_with_model(classes, settings)
        return [ready_classifier(loaded, described, settings).classify(picture, image_name=image)]

    run_one(settings, ClassifyFormatter(), image, score)
    return EXIT_DONE


def _classify_many(pictures: Input | None, settings: ClassifyOptions) -> int:
    from clipalign.output.classify import ClassifyFormatter

    classes = read_classes(settings)

    def scorer(loaded: LoadedModel) -> ClassifyScorer:
        from clipalign.methods.classify import ClassifyScorer

        return ClassifyScorer(ready_classifier(loaded, describe_with_model(classes, settings), settings))

    formatter = ClassifyFormatter(classes.names or classes.descriptions or ())
    return run_many(settings, formatter, scorer, source=pictures, needs_text=False)


def read_classes(settings: ClassifyOptions) -> Classes:
    """Read and check the requested classes; those still to be described by a language model have names only.

    Raises:
        UsageError: no classes or several sources of them, an invalid file, a class without descriptions.
        UnknownDataset: no descriptions of that data set are published.
        MissingDataset: they are published, but not on this machine.
    """
    _check_sources(settings)
    if settings.dataset is not None:
        base = settings.data_root or cache_folder(settings.cache_dir) / DATASETS_FOLDER
        classes = read_dataset(
            [base / PUBLISHED, base], _dataset_name(settings.dataset), method=settings.method or "wca"
        )
    else:
        classes = Classes(
            names=(*settings.label, *(read_labels(settings.labels) if settings.labels else ())),
            descriptions=read_descriptions(settings.descriptions) if settings.descriptions else None,
        )
    if settings.templates:
        classes = replace(classes, templates=tuple(read_lines(settings.templates, what="templates")))
    if settings.method == "waffle" and (words := settings.words or find_words(cache_dir=settings.cache_dir)):
        classes = replace(classes, words=tuple(read_lines(words, what="words")))
    if settings.describe_with is None:
        _check(classes, settings)
    return classes


def describe_with_model(classes: Classes, settings: ClassifyOptions) -> Classes:
    """Add a language model's descriptions to the classes, if the user named one."""
    if settings.describe_with is None:
        return classes
    from clipalign.download.describe import Describer, describe_classes

    describer = Describer.at(*settings.describe_with)
    with Progress(("class described", "classes described"), total=len(classes.names)) as progress:
        descriptions, file = describe_classes(
            classes.names,
            describer,
            folder=cache_folder(settings.cache_dir) / DESCRIPTIONS_FOLDER,
            offline=settings.offline,
            tell=notices.tell,
            progress=progress.advance,
        )
    notices.tell(f"descriptions by {describer.model}: {file}")
    described = replace(classes, descriptions=descriptions)
    _check(described, settings)
    return described


def _check_sources(settings: ClassifyOptions) -> None:
    named = "--label" if settings.label else "--labels" if settings.labels else ""
    if not named and settings.descriptions is None and settings.dataset is None:
        raise UsageError(
            "there are no classes to choose from",
            hint="give --label NAME, --labels FILE, --descriptions FILE.json or --dataset NAME",
            input="--labels",
        )
    if settings.dataset is not None and (named or settings.descriptions):
        other = named or "--descriptions"
        raise UsageError(f"--dataset and {other} both name the classes", hint="give one of them", input="--dataset")
    if settings.describe_with is None:
        return
    if not named or settings.descriptions is not None:
        raise UsageError(
            "--describe-with describes the classes of --labels",
            hint="give --labels FILE, and no --descriptions or --dataset",
            input="--describe-with",
        )
    if settings.method in ("clip", "clip-e"):
        raise UsageError(
            f"the method {settings.method} uses no descriptions", hint="leave out --describe-with", input="--method"
        )
    from clipalign.download.describe import Describer

    Describer.at(*settings.describe_with)


def _dataset_name(typed: str) -> str:
    known = {one.replace("_", "-"): one for one in DESCRIBED_DATASETS}
    found = known.get(typed.lower().replace("_", "-"))
    if found is None:
        raise UnknownDataset(
            f"there are no published descriptions of {typed!r}",
            hint=suggestion(typed, DESCRIBED_DATASETS) or f"one of {', '.join(DESCRIBED_DATASETS)}",
            input="--dataset",
        )
    return found


def _check(classes: Classes, settings: ClassifyOptions) -> None:
    """Check the classes before torch is imported; the method checks them again."""
    if not classes.templates:
        classes = replace(classes, templates=(PLACE,))  # the method has its own
    class_texts(
        classes, method=settings.method or default_method(classes), template=settings.template, seed=settings.seed
    )


def ready_classifier(loaded: LoadedModel, classes: Classes, settings: ClassifyOptions) -> Classifier:
    """Return the classifier, its classes encoded or read from the cache; warn of what holds for all images."""
    from clipalign.methods.classify import make_classifier, texts_of

    total = sum(len(one.texts) for one in texts_of(classes, settings)[1])
    with Progress(("text", "texts"), total=total, shown=total >= _FEW_TEXTS) as progress:
        cache = cache_folder(settings.cache_dir) / VECTORS_FOLDER
        classifier = make_classifier(loaded, classes, settings, cache=cache, progress=progress.advance)
    if classifier.vectors.cached:
        notices.inform(f"the vectors of {len(classifier.classes)} classes came from {cache}")
    for note in classifier.notes:
        notices.warn(note)
    return classifier
