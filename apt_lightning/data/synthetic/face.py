"""A drawn talking face: a head and shoulders before a wall, moved and opened at the mouth by the speech."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from apt_lightning.data.synthetic.latents import FloatArray

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

CANVAS_WIDTH = 320
"""Widest drawing, pixels; larger clips are scaled up, which is cheaper than drawing them."""
MOUTHS = 5
"""Number of drawn mouth openings."""
SMOOTH = 2
"""Each sprite is drawn this many times larger and reduced."""
COOL, WARM = np.array([120.0, 150.0, 205.0]), np.array([205.0, 155.0, 105.0])


@dataclass(frozen=True)
class Look:
    """What a clip shows; lengths are shares of the picture's height."""

    wall: Colour
    shirt: Colour
    skin: Colour
    hair: Colour
    poster: Colour
    poster_left: bool
    long_hair: bool
    glasses: bool
    head: float
    """Height of the head."""
    slim: float
    """Width of the head over its height."""
    smile: float
    """Curvature of the mouth, -1 to 1."""
    sway: float
    """Amplitude of the movement."""
    tempo: float
    """Movements a second."""


def look_of(cues: FloatArray, habits: np.random.Generator, rng: np.random.Generator) -> Look:
    """Choose the look of a clip.

    Args:
        cues: (5,) visual cues of the clip, standard normal, in the order of the traits.
        habits: Source of randomness that begins alike for all clips of a source: skin, hair, glasses, poster.
        rng: Source of the clip's randomness.

    Returns:
        A look that is nearer and livelier with extraversion, in a brighter room with stability, smiling and
        in a redder shirt with agreeableness, in a lighter shirt with conscientiousness and before a warmer
        wall with openness.
    """
    ext, neu, agr, con, ope = np.clip(cues, -2.5, 2.5)
    wall = (COOL + WARM) / 2 + (WARM - COOL) * 0.28 * ope
    light = 0.82 + 0.17 * neu + 0.02 * rng.standard_normal()
    tint = 18 * agr * np.array([1, 0, -1]) + habits.uniform(-20, 20, size=3)
    skin = np.array([225.0, 180.0, 150.0]) * habits.uniform(0.55, 1.05)
    return Look(
        wall=_colour(wall * light),
        shirt=_colour(110 + 42 * con + tint),
        skin=_colour(skin * (0.9 + 0.1 * light)),
        hair=_colour(np.array([150.0, 110.0, 70.0]) * habits.uniform(0.15, 1.4)),
        poster=_colour(habits.uniform(40, 215, size=3) * light),
        poster_left=bool(habits.random() < 0.5),
        long_hair=bool(habits.random() < 0.5),
        glasses=bool(habits.random() < 0.3),
        head=float(0.48 + 0.07 * ext + 0.01 * rng.standard_normal()),
        slim=float(habits.uniform(0.72, 0.88)),
        smile=float(np.clip(0.15 + 0.4 * agr, -1, 1)),
        sway=float(np.clip(0.03 + 0.018 * ext, 0.004, 0.08)),
        tempo=float(0.35 + 0.1 * habits.random()),
    )


def draw_frames(
    look: Look, loudness: FloatArray, fps: float, size: tuple[int, int], rng: np.random.Generator
) -> Iterator[Picture]:
    """Draw the frames of a clip.

    Args:
        look: What to draw.
        loudness: (n_frames,) loudness of the speech during each frame, 0 to 1: opens the mouth.
        fps: Frames a second.
        size: Width and height to draw in, pixels.
        rng: Source of the movement's phases and of the blinks.

    Yields:
        (H, W, 3) RGB pictures.
    """
    height = size[1]
    wall = _draw_wall(look, size)
    sprites = [[_draw_person(look, size, mouth / (MOUTHS - 1), blink) for blink in (0, 1)] for mouth in range(MOUTHS)]
    phase = rng.uniform(0, 2 * np.pi, size=3)
    place = rng.uniform(-0.05, 0.05)
    blink_every, blink_at = rng.uniform(2.5, 4.5), rng.uniform(0, 2.5)
    for i, level in enumerate(loudness):
        t = i / fps
        turn = 2 * np.pi * look.tempo * t
        dx = look.sway * (np.sin(turn + phase[0]) + 0.6 * np.sin(2.7 * turn + phase[1])) + place
        dy = 0.4 * look.sway * np.sin(2 * turn + phase[2])
        mouth = round(float(level) * (MOUTHS - 1))
        blink = int((t - blink_at) % blink_every < 0.15)
        frame = wall.copy()
        sprite = sprites[mouth][blink]
        frame.paste(sprite, (round(dx * height), round(dy * height)), sprite)
        yield np.asarray(frame)


def canvas_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height to draw in for clips of a size, both in pixels.

    Example:
        >>> canvas_size((1280, 720))
        (320, 180)
    """
    width = min(size[0], CANVAS_WIDTH)
    return width, max(2, round(size[1] * width / size[0]))


def _colour(rgb: FloatArray) -> Colour:
    red, green, blue = np.clip(np.round(rgb), 8, 247).astype(int).tolist()
    return red, green, blue


def _draw_wall(look: Look, size: tuple[int, int]) -> Image.Image:
    width, height = size
    wall = Image.new("RGB", size, look.wall)
    pen = ImageDraw.Draw(wall)
    centre = 0.22 * width if look.poster_left else 0.78 * width
    half = 0.13 * height
    pen.rectangle((centre - half, 0.14 * height, centre + half, 0.5 * height), look.poster, (60, 50, 45))
    floor = _colour(np.array(look.wall) * 0.7)
    pen.rectangle((0, 0.86 * height, width, height), floor)
    return wall


def _draw_person(look: Look, size: tuple[int, int], mouth: float, blink: int) -> Image.Image:
    """Head and shoulders on a clear ground, taller than the picture so that moving up shows no lower edge."""
    width, height = size[0] * SMOOTH, size[1] * SMOOTH
    person = Image.new("RGBA", (width, round(height * 1.2)), (0, 0, 0, 0))
    pen = ImageDraw.Draw(person)
    a = look.head * height / 2  # half height of the head
    b = a * look.slim
    x, y = width / 2, 0.5 * height - 0.12 * a

    def oval(dx: float, dy: float, rx: float, ry: float, colour: Colour) -> None:
        pen.ellipse((x + dx - rx, y + dy - ry, x + dx + rx, y + dy + ry), colour)

    dark = _colour(np.array(look.skin) * 0.45)
    if look.long_hair:
        pen.rounded_rectangle((x - 1.2 * b, y - 0.6 * a, x + 1.2 * b, y + 1.15 * a), 0.4 * b, look.hair)
    oval(0, 2.35 * a, 2.1 * b, 1.35 * a, look.shirt)
    pen.rectangle((x - 2.1 * b, y + 2.35 * a, x + 2.1 * b, 2 * height), look.shirt)
    pen.rectangle((x - 0.35 * b, y + 0.7 * a, x + 0.35 * b, y + 1.2 * a), _colour(np.array(look.skin) * 0.85))
    oval(0, -0.12 * a, 1.12 * b, 1.06 * a, look.hair)
    oval(0, 0, b, a, look.skin)
    pen.chord((x - b, y - a, x + b, y + 0.3 * a), 200, 340, look.hair)
    for side in (-1, 1):
        eye = side * 0.38 * b
        if blink:
            pen.line((x + eye - 0.16 * b, y - 0.1 * a, x + eye + 0.16 * b, y - 0.1 * a), dark, SMOOTH * 2)
        else:
            oval(eye, -0.1 * a, 0.18 * b, 0.11 * a, (245, 245, 245))
            oval(eye, -0.1 * a, 0.08 * b, 0.085 * a, (35, 30, 30))
        inner, outer = -0.27 - 0.05 * look.smile, -0.3 + 0.03 * look.smile
        pen.line(
            (x + eye - side * 0.18 * b, y + inner * a, x + eye + side * 0.2 * b, y + outer * a),
            look.hair,
            SMOOTH * 3,
        )
        if look.glasses:
            box = (x + eye - 0.28 * b, y - 0.3 * a, x + eye + 0.28 * b, y + 0.1 * a)
            pen.ellipse(box, outline=(25, 25, 25), width=SMOOTH)
    pen.line((x, y - 0.02 * a, x - 0.08 * b, y + 0.24 * a, x + 0.05 * b, y + 0.25 * a), dark, SMOOTH)
    _draw_mouth(pen, (x, y + 0.52 * a), 0.5 * b, 0.24 * a * look.smile, (0.03 + 0.22 * mouth) * a)
    return person.reduce(SMOOTH)


def _draw_mouth(
    pen: ImageDraw.ImageDraw, middle: tuple[float, float], half: float, bend: float, opening: float
) -> None:
    """A mouth ``2 half`` wide whose corners rise by ``bend`` and whose lips part by ``opening``."""
    x, y = middle
    u = np.linspace(-1, 1, 15)
    upper = y + bend / 2 - bend * u**2 - opening / 2 * (1 - u**2)
    lower = y + bend / 2 - bend * u**2 + opening / 2 * (1 - u**2)
    outline = [*zip(x + half * u, upper, strict=True), *zip((x + half * u)[::-1], lower[::-1], strict=True)]
    points = [(float(px), float(py)) for px, py in outline]
    pen.polygon(points, (95, 25, 35))
    pen.line([*points, points[0]], (165, 60, 65), SMOOTH * 2)
