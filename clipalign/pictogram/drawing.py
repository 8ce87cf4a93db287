"""How scenes are drawn. Torch-free."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from clipalign.pictogram.scenes import CANVAS_PX, HERE, Ground, Scene, Thing

SPRITE_PX: Final = 64
SHEET_COLUMNS: Final = 21
SHADE: Final = 45
"""How much lighter or darker, of 255, a pattern is at most."""


def sheet_path(style: str) -> Path:
    return HERE / f"sprites-{style}.png"


@cache
def _sheet(style: str) -> Image.Image:
    with Image.open(sheet_path(style)) as file:
        sheet: Image.Image = file.convert("RGBA")
    return sheet


@lru_cache(maxsize=20_000)
def sprite(kind: int, style: str, side_px: int) -> Image.Image:
    """Return the RGBA drawing of ``KINDS[kind]`` in a style."""
    x, y = kind % SHEET_COLUMNS * SPRITE_PX, kind // SHEET_COLUMNS * SPRITE_PX
    tile = _sheet(style).crop((x, y, x + SPRITE_PX, y + SPRITE_PX))
    return tile.resize((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=None)


@lru_cache(maxsize=4000)
def _in_material(kind: int, style: str, material: str) -> Image.Image:
    """The drawing at ``SPRITE_PX`` in a material: as in a coloring book, in two tones, or lit from the upper left."""
    drawing = sprite(kind, style, SPRITE_PX)
    pixels = np.asarray(drawing, np.float32)
    rgb, alpha = pixels[..., :3], pixels[..., 3:] / 255
    light = rgb.mean(-1, keepdims=True)
    inside = alpha > 0.5
    mean = rgb[inside[..., 0]].mean(0)
    match material:
        case "outlined":
            edges = _edges(light * alpha + 255 * (1 - alpha))
            rgb = 250 - 230 * edges + np.zeros(3, np.float32)
            alpha = np.maximum(alpha, edges * 0.8)
        case "flat":
            tones = np.where(light > np.median(light[inside]), 1.35, 0.65)
            rgb = mean * tones
        case "shaded":
            down, right = np.mgrid[0:SPRITE_PX, 0:SPRITE_PX] / SPRITE_PX
            rgb = rgb * (1.45 - 0.62 * (down + right))[..., None]
            shadow = np.roll(alpha, (5, 5), (0, 1)) * 0.55
            rgb, alpha = rgb * alpha / np.maximum(alpha, 1e-6) * (alpha > 0), np.maximum(alpha, shadow)
        case _:  # pencil: gray hatching between dark lines
            down, right = np.mgrid[0:SPRITE_PX, 0:SPRITE_PX]
            hatch = np.where((down + right) % 6 < 2, 60, 0)[..., None]
            rgb = np.clip(0.5 * light + 110 - hatch, 0, 255) * (1 - _edges(light)) + np.zeros(3, np.float32)
    return Image.fromarray(np.concatenate([np.clip(rgb, 0, 255), alpha * 255], -1).astype(np.uint8), "RGBA")


def _edges(light: np.ndarray) -> np.ndarray:
    """How fast the light changes, 0 to 1 (S, S, 1)."""
    down, right = np.gradient(light[..., 0])
    edges: np.ndarray = np.clip((np.hypot(down, right) - 8) / 30, 0, 1)[..., None]
    return edges


def draw_scene(scene: Scene, *, side_px: int = CANVAS_PX) -> Image.Image:
    ground = scene.ground
    picture = Image.new("RGB", (side_px, side_px), scene.rgb) if ground is None else _ground(scene, ground, side_px)
    for thing in scene.things:
        side = round(thing.side * side_px)
        drawing = _drawing(thing, side)
        corner = (round(thing.x * side_px - side / 2), round(thing.y * side_px - side / 2))
        picture.paste(drawing, corner, drawing)
    return picture if ground is None else _lit(picture, ground)


def _drawing(thing: Thing, side: int) -> Image.Image:
    if not thing.material and not thing.tilt:
        return sprite(thing.kind, thing.style, side)
    drawing = _in_material(thing.kind, thing.style, thing.material) if thing.material else None
    drawing = drawing or sprite(thing.kind, thing.style, SPRITE_PX)
    return drawing.rotate(thing.tilt, Image.Resampling.BICUBIC).resize((side, side), Image.Resampling.LANCZOS)


def _ground(scene: Scene, ground: Ground, side_px: int) -> Image.Image:
    rng = np.random.default_rng(ground.seed)
    down, right = np.mgrid[0:side_px, 0:side_px] / side_px
    angle, waves = rng.uniform(0, 2 * np.pi), rng.integers(3, 9)
    along = (right - 0.5) * np.cos(angle) + (down - 0.5) * np.sin(angle)
    across = (down - 0.5) * np.cos(angle) - (right - 0.5) * np.sin(angle)
    match ground.pattern:
        case "gradient":
            shade = 1.4 * along
        case "stripes":
            shade = np.sign(np.sin(2 * np.pi * waves * along))
        case "checks":
            shade = np.sign(np.sin(2 * np.pi * waves * along) * np.sin(2 * np.pi * waves * across))
        case "cloudy":
            small = Image.fromarray(rng.uniform(-1, 1, (waves, waves)).astype(np.float32))
            shade = np.asarray(small.resize((side_px, side_px), Image.Resampling.BICUBIC))
        case _:
            shade = np.zeros((side_px, side_px))
    pixels = np.array(scene.rgb) + SHADE * ground.contrast * shade[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _lit(picture: Image.Image, ground: Ground) -> Image.Image:
    """The picture in its light, a little out of focus and with the noise of a sensor."""
    if ground.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(ground.blur * picture.width))
    pixels = np.asarray(picture, np.float32)
    gray = pixels.mean(-1, keepdims=True)
    noise = np.random.default_rng(ground.seed).normal(0, 3, (*pixels.shape[:2], 1)).astype(np.float32)
    lit = ground.brightness * (gray + ground.saturation * (pixels - gray)) + noise
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def draw_for_model(scene: Scene, drawn_px: int) -> Image.Image:
    """Draw the scene at ``drawn_px`` pixels a side and scale it to the model's size, as its preprocessing does."""
    return draw_scene(scene, side_px=drawn_px).resize((CANVAS_PX, CANVAS_PX), Image.Resampling.BICUBIC)
