"""What shapes the results of the three methods; torch-free, so that ``--help`` and completion may read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from clipalign.calibration import SavedCalibration, read_calibration
from clipalign.config.groups import MachineSettings, ModelSettings
from clipalign.config.readers import MAX_BATCH, between, finite, prefix, text, whole
from clipalign.config.settings import Checked, SameAs, Setting
from clipalign.data.class_texts import CLASS_TEMPLATE, METHODS
from clipalign.data.words import Mode

DEFAULT_TEMPLATE: Final = "A photo depicts "  # put before every caption and reference (CLIP4DM)
TEMPLATE_HELP: Final = "What stands before a caption, or around {}, the name of a class."

DEFAULT_MARGIN: Final = 1e-4
"""Of a score from 0 to 1: several times what rounding does at fp32, a tenth of what a sentence does."""

_MAX_LOGSCALE: Final = 20.0
"""exp(20) is about 5e8 and already selects a single crop; fp32 overflows at exp(89)."""


@dataclass(frozen=True, kw_only=True)
class DetectSettings(Checked):
    """Settings of ``detect``; results change with ``batch_size`` by rounding alone, and not with ``seed``."""

    panel = "Scoring"

    mode: Annotated[
        str,
        Setting("Mark every word below epsilon, or always the one most negative word.", choices=tuple(map(str, Mode))),
    ] = Mode.THRESHOLD.value
    epsilon: Annotated[
        float | None,
        Setting("A word with a lower attribution is misaligned.", finite, value="X", default="the model's own"),
    ] = None
    layers: Annotated[
        int | None,
        Setting("Last text layers to average (k).", whole(1), value="K", default="the model's own"),
    ] = None
    template: Annotated[str, Setting(TEMPLATE_HELP, prefix, value="TEXT")] = DEFAULT_TEMPLATE
    calibration: Annotated[
        SavedCalibration | None,
        Setting(
            "Take layers, epsilon and template from this file of eval --calibrate --save.",
            read_calibration,
            value="FILE",
            default="none",
            file=False,
        ),
    ] = None
    suggest: Annotated[
        int, Setting("For each misaligned word, up to N others of its kind that fit better.", whole(0, 100), value="N")
    ] = 0
    candidates: Annotated[
        Path | None,
        Setting(
            "With --suggest: what may be suggested, a line each, names that mean the same after commas.",
            value="FILE",
            default="the model's vocabulary, or common things",
            file=False,
        ),
    ] = None
    explain: Annotated[
        bool, Setting("Show where in the picture each word is seen: heat maps, drawn with --format html.")
    ] = False
    fast_decode: Annotated[
        bool,
        Setting(
            "Decode large JPEG images at a reduced scale, with at least three times the model's pixels a side. Cosines "
            "move by up to 0.002, and 3 words of 10,000 change sides.",
            panel="Many at once",
        ),
    ] = False
    batch_size: Annotated[int, SameAs(ModelSettings)] = 32
    seed: Annotated[int, SameAs(MachineSettings)] = 0


@dataclass(frozen=True, kw_only=True)
class ClassifySettings(Checked):
    """Settings of ``classify``; results change with ``batch_size`` by rounding alone."""

    panel = "Scoring"

    method: Annotated[
        str | None,
        Setting("How images and classes are compared.", choices=METHODS, default="wca with descriptions, clip without"),
    ] = None
    crops: Annotated[int, Setting("Random crops per image.", whole(1, MAX_BATCH), value="N")] = 60
    alpha: Annotated[
        float,
        Setting(
            "Smallest side of a crop as a share of the image's shorter side, 0 to 0.9.", between(0.0, 0.9), value="X"
        ),
    ] = 0.5
    image_logscale: Annotated[
        float,
        Setting(
            "How sharply crops that resemble the whole image outweigh others.",
            between(-_MAX_LOGSCALE, _MAX_LOGSCALE),
            value="X",
        ),
    ] = 4.0
    text_logscale: Annotated[
        float,
        Setting(
            "How sharply descriptions that resemble the template outweigh others.",
            between(-_MAX_LOGSCALE, _MAX_LOGSCALE),
            value="X",
        ),
    ] = 2.0
    template: Annotated[str, Setting(TEMPLATE_HELP, text, value="TEXT")] = CLASS_TEMPLATE
    top: Annotated[int, Setting("Best classes to report.", whole(1), value="N", panel="Output")] = 5
    probabilities: Annotated[
        bool, Setting("Add the softmax over all classes, with the model's own scale.", panel="Output")
    ] = False
    reject_below: Annotated[
        float | None,
        Setting(
            "Give no class to an image whose best score, or probability with --probabilities, is lower.",
            finite,
            value="X",
            default="always give one",
            panel="Output",
        ),
    ] = None
    explain: Annotated[bool, Setting("Show which crops and sentences carried the score.", panel="Output")] = False
    batch_size: Annotated[int | None, SameAs(ModelSettings)] = None
    seed: Annotated[int, SameAs(MachineSettings)] = 0


@dataclass(frozen=True, kw_only=True)
class ClassFileSettings(Checked):
    """Files that say what classes are compared by."""

    panel = "Scoring"

    descriptions: Annotated[
        Path | None, Setting("JSON object: class name to a list of sentences.", value="FILE", file=False)
    ] = None
    templates: Annotated[
        Path | None,
        Setting(
            "Templates for clip-e, one per line, {} is the class.",
            value="FILE",
            default="the 80 of OpenAI's CLIP",
            file=False,
        ),
    ] = None
    words: Annotated[
        Path | None,
        Setting(
            "Words for waffle, one per line.",
            value="FILE",
            default="what clipalign download waffle-words fetched",
            file=False,
        ),
    ] = None
    data_root: Annotated[
        Path | None,
        Setting(
            "Folder of the data set, or one that holds it under its name.",
            value="DIR",
            default="where download puts it",
            file=False,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class LongSettings(Checked):
    """Settings of ``score-long``; results change with ``batch_size`` by rounding alone.

    ``seed`` draws the orders of ``shapley`` for texts of more than 6 sentences.
    """

    panel = "Scoring"

    by: Annotated[
        str,
        Setting("Unit that the text is cut into.", choices=("sentence", "phrase")),
    ] = "sentence"
    contribution: Annotated[
        str,
        Setting(
            "What a sentence is judged by: its mean effect over the orders of the sentences, the score without it, or "
            "what it adds to the text before it.",
            choices=("shapley", "leave-one-out", "increment"),
        ),
    ] = "shapley"
    margin: Annotated[
        float,
        Setting("Mark a sentence, and let --check find it, when it lowers the score by more.", between(0.0), value="X"),
    ] = DEFAULT_MARGIN
    stretch: Annotated[
        bool,
        Setting(
            "Stretch the positions of a model of fewer than 248 tokens by Long-CLIP's rule; else texts are cut at its "
            "own context.",
        ),
    ] = True
    fast_decode: Annotated[bool, SameAs(DetectSettings)] = False
    batch_size: Annotated[int, SameAs(ModelSettings)] = 32
    seed: Annotated[int, SameAs(MachineSettings)] = 0
