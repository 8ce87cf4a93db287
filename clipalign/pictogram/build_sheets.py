"""Make the two sprite sheets that ship with the package; needed again only when ``objects.tsv`` changes.

    python -m clipalign.pictogram.build_sheets NOTO_DIR TWEMOJI_DIR

Each folder holds 64 px PNG drawings named by lower-case code points (``1f436.png``), as the emoji-datasource packages
for Google (Noto) and Twitter (Twemoji) lay them out. See NOTICE for the licenses of the drawings.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from clipalign.pictogram.drawing import SHEET_COLUMNS, SPRITE_PX, sheet_path
from clipalign.pictogram.scenes import KINDS, STYLES


def build_sheet(drawings: Path) -> Image.Image:
    """Draw all kinds of one style on an RGBA sheet, ``SHEET_COLUMNS`` to a row, in the order of ``objects.tsv``."""
    rows = -(-len(KINDS) // SHEET_COLUMNS)
    sheet = Image.new("RGBA", (SHEET_COLUMNS * SPRITE_PX, rows * SPRITE_PX), (0, 0, 0, 0))
    for index, kind in enumerate(KINDS):
        with Image.open(drawings / f"{kind.code.lower()}.png") as file:
            drawing = file.convert("RGBA").resize((SPRITE_PX, SPRITE_PX), Image.Resampling.LANCZOS)
        sheet.paste(drawing, (index % SHEET_COLUMNS * SPRITE_PX, index // SHEET_COLUMNS * SPRITE_PX))
    return sheet


def main(folders: list[str]) -> None:
    if len(folders) != len(STYLES):
        raise SystemExit(f"expected {len(STYLES)} folders: {', '.join(STYLES)}")
    for style, folder in zip(STYLES, folders, strict=True):
        sheet = build_sheet(Path(folder))
        sheet.save(sheet_path(style), optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
