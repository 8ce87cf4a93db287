"""The model, the machine it runs on, and where weights are kept and come from."""

from typing import Annotated, TypedDict

from clipalign.options.option import MODEL_PANEL, option
from clipalign.registry import DEFAULT_MODEL, model_names
from clipalign.registry.rows import LONG_MODEL
from clipalign.settings.choices import DEVICES, PRECISIONS

CacheDir = Annotated[
    str | None,
    option(
        "--cache-dir",
        value="DIR",
        help="Where data sets and class vectors are kept, and weights too where it is given; also CLIPALIGN_CACHE.",
        default="the user's cache folder; weights in those of Hugging Face and open_clip",
        panel=MODEL_PANEL,
    ),
]
Offline = Annotated[
    bool | None,
    option("--offline/--no-offline", help="Never use the network.", default="no", panel=MODEL_PANEL),
]
AcceptLicense = Annotated[
    list[str] | None,
    option(
        "--accept-license",
        value="NAME",
        help="Accept the licence of this model or data set, where it is not a free one. May be repeated.",
        panel=MODEL_PANEL,
    ),
]


class MachineOptions(TypedDict, total=False):
    """Of every command that computes."""

    # Which devices are there would cost an import of torch: kinds complete, not numbers.
    device: Annotated[
        str | None,
        option(
            "--device",
            value="auto|cpu|cuda[:N]|mps",
            help="Where the model runs.",
            default="auto",
            panel=MODEL_PANEL,
            choices=DEVICES,
        ),
    ]
    precision: Annotated[
        str | None,
        option(
            "--precision",
            value="|".join(PRECISIONS),
            help="Of weights and activations; auto is fp32, the reference.",
            default="auto",
            panel=MODEL_PANEL,
            choices=PRECISIONS,
        ),
    ]
    threads: Annotated[
        str | None,
        option("--threads", value="N", help="CPU threads.", default="torch's own", panel=MODEL_PANEL),
    ]
    seed: Annotated[
        str | None,
        option(
            "--seed",
            value="N",
            help="Of everything that is drawn at random; kept in the result.",
            default="0",
            panel=MODEL_PANEL,
        ),
    ]
    cache_dir: CacheDir
    offline: Offline
    download: Annotated[
        bool | None,
        option(
            "--download/--no-download",
            help="Fetch weights that are missing.",
            default="on a terminal only",
            panel=MODEL_PANEL,
        ),
    ]
    accept_license: AcceptLicense


class ChosenModelOptions(TypedDict, total=False):
    """Of every command that asks a model."""

    model: Annotated[
        str | None,
        option(
            "--model",
            "-m",
            value="NAME[@WEIGHTS]",
            help="A registry name (pictogram works offline), an open_clip architecture with a pretrained tag or a "
            "file, CONFIG.json@FILE, or a checkpoint.",
            default=f"{DEFAULT_MODEL}; of score-long: {LONG_MODEL}",
            panel=MODEL_PANEL,
            choices=model_names,
        ),
    ]
    batch_size: Annotated[
        str | None,
        option("--batch-size", value="auto|N", help="Images, and texts, at a time.", default="auto", panel=MODEL_PANEL),
    ]


class ModelOptions(ChosenModelOptions, MachineOptions, total=False):
    """The model and its machine."""
