"""Evaluation of a run folder: its images beside real ones, its tokens beside plain decoding's."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from hawk.batch.inspection import rows
from hawk.batch.manifest import Manifest
from hawk.decoding.request import Request
from hawk.decoding.sampler import SamplerConfig
from hawk.evaluation.encoder import Encoder
from hawk.evaluation.judge import Judge
from hawk.evaluation.quality_report import QualityReport, QualityRow
from hawk.evaluation.real_images import RealImages
from hawk.images.gallery import tokens_sha256
from hawk.machine import machine, versions
from hawk.pipeline import Pipeline
from hawk.settings import DraftSettings, ModelSettings, changed
from hawk.storage.folder import Folder

COLUMNS = [
    "prompt", "negative_prompt", "seed", "image", "drafter", "rule", "exact", "sampler",
    "tokens_sha256", "tokens_per_forward", "seconds",
]  # fmt: skip


def judge_run(
    url: str, real: RealImages, encoder: Encoder, *, most: int, compared: int, device: str
) -> QualityReport:
    """Judge the images of a run folder whose prompts are captions of real images.

    Args:
        most: Number of images to judge, the first of the folder.
        compared: Number of images made again by plain decoding, for each row of the report.
        device: Device of plain decoding.

    Returns:
        a row for every guidance in the folder. `seconds_per_image` is the time from an image's
        first pass to its last, others in flight beside it. ValueError where too few rows have such
        a prompt.
    """
    folder = Folder(url)
    ours = Manifest.read(folder)
    if ours is None:
        raise ValueError(f"{folder.url} is no run folder: it has no manifest.json")
    made = [row for row in rows(folder, COLUMNS) if row["image"]]
    places = real.captioned([row["prompt"] for row in made])
    known = [(row, place) for row, place in zip(made, places, strict=True) if place is not None]
    known = known[:most]
    if len(known) < 2:
        raise ValueError(
            f"{len(known)} images in {folder.url} have a caption of the real images for a prompt, "
            f"2 are needed: make images of such captions"
        )
    asked_places = sorted({place for _, place in known})
    judge = Judge(encoder, real, real.rows(asked_places))
    by_guidance: dict[float, list[tuple[dict[str, Any], int]]] = defaultdict(list)
    for row, place in known:
        by_guidance[row["sampler"]["guidance"]].append((row, asked_places.index(place)))
    model = changed(ModelSettings(device=device), ours.settings)
    plain = Pipeline.load(model, DraftSettings(drafter="plain"))
    return QualityReport(
        rows=[
            _row(judge, plain, [row for row, _ in part], [place for _, place in part], compared)
            for part in by_guidance.values()
        ],
        real=judge.ceiling,
        model=ours.provenance.model,
        sampler=None,
        machine=machine(plain.target.device),
        versions=versions(),
    )


def _row(
    judge: Judge,
    plain: Pipeline,
    made: Sequence[Mapping[str, Any]],
    asked: Sequence[int],
    compared: int,
) -> QualityRow:
    again = [_request(row) for row in made[:compared]]
    same = 0
    if again:
        pictures = plain.run(again).pictures
        same = sum(
            tokens_sha256(picture.tokens) == row["tokens_sha256"]
            for picture, row in zip(pictures, made, strict=False)
        )
    first = made[0]
    return QualityRow(
        guidance=first["sampler"]["guidance"],
        drafter=first["drafter"],
        rule=first["rule"],
        exact=first["exact"],
        images=len(made),
        tokens_per_forward=round(_mean(made, "tokens_per_forward"), 3),
        seconds_per_image=round(_mean(made, "seconds"), 3),
        compared_with_plain=len(again),
        same_as_plain=same,
        measured=True,
        quality=judge.quality([_pixels(row) for row in made], asked),
    )


def _request(row: Mapping[str, Any]) -> Request:
    sampler = dict(row["sampler"])
    return Request(
        prompt=row["prompt"],
        seed=row["seed"],
        guidance=sampler.pop("guidance"),
        sampler=SamplerConfig(**sampler),
        negative_prompt=row["negative_prompt"],
    )


def _mean(made: Sequence[Mapping[str, Any]], column: str) -> float:
    return float(np.mean([row[column] for row in made]))


def _pixels(row: Mapping[str, Any]) -> np.ndarray:
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        return np.asarray(image.convert("RGB"))
