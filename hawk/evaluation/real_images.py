"""Real images with captions, concepts and styles, to compare made images with.

`python -m jobs.emoji.build emoji.npz` makes their file. Skin-tone variants are left out: they are
many, and show no other concept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIELDS = ("images", "captions_json", "base", "style", "group", "skin_tone", "split")
TRAINED, HELD_OUT = "train", "test_pair"  # splits; the concept of a held-out pair was trained on
CAPTION = 1  # index of the plainest caption that names concept and style
LEAST_IMAGES = 2


@dataclass(frozen=True, kw_only=True)
class RealImages:
    """Some rows of the file.

    Attributes:
        pixels_IHWC: uint8, RGB pixels.
        captions: Captions of each image.
        concepts_I: Concept that an image shows.
        styles_I: Style in which it is drawn.
        groups_I: Kind of thing that it shows.
        splits_I: Split of the data set: training or test.
    """

    pixels_IHWC: np.ndarray
    captions: list[list[str]]
    concepts_I: np.ndarray
    styles_I: np.ndarray
    groups_I: np.ndarray
    splits_I: np.ndarray

    @classmethod
    def load(cls, path: Path) -> "RealImages":
        """All rows of a file without a skin tone. ValueError where it is no such file."""
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}: python -m jobs.emoji.build {path} makes it")
        try:
            with np.load(path) as archive:
                found = {name: archive[name] for name in FIELDS}
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{path} is no file of python -m jobs.emoji.build: {error}") from error
        rows = np.flatnonzero(found["skin_tone"] == "none")
        return cls(
            pixels_IHWC=found["images"][rows],
            captions=[json.loads(text) for text in found["captions_json"][rows]],
            concepts_I=found["base"][rows],
            styles_I=found["style"][rows],
            groups_I=found["group"][rows],
            splits_I=found["split"][rows],
        )

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def prompts(self) -> list[str]:
        """One caption of each image, which names concept and style."""
        return [texts[min(CAPTION, len(texts) - 1)] for texts in self.captions]

    def rows(self, places: Sequence[int] | np.ndarray) -> "RealImages":
        """The images at some places, in that order."""
        places = np.asarray(places, dtype=np.int64)
        return RealImages(
            pixels_IHWC=self.pixels_IHWC[places],
            captions=[self.captions[place] for place in places],
            concepts_I=self.concepts_I[places],
            styles_I=self.styles_I[places],
            groups_I=self.groups_I[places],
            splits_I=self.splits_I[places],
        )

    def held_out(self, count: int) -> "RealImages":
        """Up to `count` images whose concept and style were never trained on together, evenly
        spread over the file."""
        if count < LEAST_IMAGES:
            raise ValueError(f"prompts must be {LEAST_IMAGES} or more, got {count}")
        places = np.flatnonzero(self.splits_I == HELD_OUT)
        if len(places) < LEAST_IMAGES:
            raise ValueError(f"the real images have {len(places)} rows of split {HELD_OUT!r}")
        count = min(count, len(places))
        return self.rows(places[np.linspace(0, len(places) - 1, count).astype(int)])

    def captioned(self, prompts: Sequence[str]) -> list[int | None]:
        """Place of the image with each prompt as a caption; None where there is none."""
        places: dict[str, int] = {}
        for place, texts in enumerate(self.captions):
            for text in texts:
                places.setdefault(text, place)
        return [places.get(prompt) for prompt in prompts]

    def relatives(self, asked: "RealImages") -> "RealImages":
        """Training images of the concepts of `asked`, without its pairs of concept and style.

        ValueError where nothing is left.
        """
        pairs = set(zip(asked.concepts_I, asked.styles_I, strict=True))
        concepts = set(asked.concepts_I)
        places = [
            place
            for place, pair in enumerate(zip(self.concepts_I, self.styles_I, strict=True))
            if pair[0] in concepts and pair not in pairs and self.splits_I[place] == TRAINED
        ]
        if len(places) < LEAST_IMAGES:
            raise ValueError("the real images have no other styles of what was asked for")
        return self.rows(places)
