"""Pictures of shapes with captions, concepts and styles, in the form of the real images that
evaluation compares with."""

import json
from pathlib import Path

import numpy as np

CONCEPTS = ("disc", "square", "bar", "cross")
COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220)}
STYLES = ("flat", "rough", "ringed")
PIXELS = 32


def draw(concept: str, colour: str, style: str) -> np.ndarray:
    """One of twelve shapes in one of three styles on white."""
    y, x = np.mgrid[:PIXELS, :PIXELS] - PIXELS / 2 + 0.5
    inside = {
        "disc": x**2 + y**2 < 100,
        "square": (abs(x) < 9) & (abs(y) < 9),
        "bar": (abs(x) < 13) & (abs(y) < 4),
        "cross": (abs(x) < 3) | (abs(y) < 3),
    }[concept]
    texture = {
        "flat": np.ones_like(x),
        "rough": 0.55 + 0.45 * ((x + y) % 2),
        "ringed": 0.6 + 0.4 * np.sin(np.hypot(x, y) * 1.5),
    }[style]
    paint = np.array(COLOURS[colour]) * texture[..., None]
    return np.where(inside[..., None], paint, 255).astype(np.uint8)


def save_shapes(path: Path) -> None:
    """Every shape in every colour and style; one style of each is held out."""
    rows: list[tuple[str, str, str, str]] = []
    for number, (concept, colour) in enumerate((c, k) for c in CONCEPTS for k in COLOURS):
        for place, style in enumerate(STYLES):
            split = "test_pair" if place == number % len(STYLES) else "train"
            rows.append((concept, colour, style, split))
    rows.append(rows[0])  # once more, with a skin tone
    names = [f"{colour} {concept}" for concept, colour, _, _ in rows]
    captions = [
        json.dumps([f"a {name}", f"a {name}, {row[2]} style"])
        for name, row in zip(names, rows, strict=True)
    ]
    np.savez(
        path,
        images=np.stack([draw(*row[:3]) for row in rows]),
        captions_json=captions,
        base=names,
        style=[row[2] for row in rows],
        group=[row[0] for row in rows],
        skin_tone=["none"] * (len(rows) - 1) + ["dark"],
        split=[row[3] for row in rows],
    )
