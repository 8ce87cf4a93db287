"""Measure how good the verdicts are, and keep the figures.

python -m tests.verdicts                        # all, some minutes
python -m tests.verdicts sentences              # one of them
python -m tests.verdicts sentences --scenes 20  # a look; keeps nothing
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Final

from clipalign import load
from tests.figures import dumps, write_figures

FIGURES: Final = Path(__file__).with_name("figures.json")
MEASURED: Final = {
    "sentences": "pictogram-long",
    "suggestions": "pictogram",
    "places": "pictogram",
    "alarms": "pictogram",
}
"""Measurement → the embedded model that it is about."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how good the verdicts on sentences and words are.")
    parser.add_argument("names", nargs="*", choices=[*MEASURED, []])
    parser.add_argument("--scenes", type=int, help="fewer scenes, and nothing is kept")
    asked = parser.parse_args()
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    for name in asked.names or MEASURED:
        module = importlib.import_module(f"tests.verdicts.{name}")
        loaded = load(MEASURED[name], device="cpu").loaded
        found = module.measure(loaded, asked.scenes or module.SCENES)
        figures[name] = {"weights": loaded.weights_sha256[:12], **found}
        print(dumps({name: figures[name]}))
        if asked.scenes is None:
            write_figures(FIGURES, figures)


if __name__ == "__main__":
    main()
