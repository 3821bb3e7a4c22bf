"""Study: drafters and rules at some guidance scales, judged by the images that they make.

A rule that is exact makes the tokens of plain decoding: that is checked, and their quality is the
model's own, measured once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hawk.decoding.request import Request
from hawk.decoding.rule_names import read_rule
from hawk.decoding.sampler import SamplerConfig
from hawk.evaluation.judge import Judge, Quality
from hawk.evaluation.quality_report import QualityReport, QualityRow
from hawk.evaluation.real_images import RealImages
from hawk.machine import machine, versions
from hawk.pictures import Result
from hawk.pipeline import Pipeline
from hawk.settings import DraftSettings, ModelSettings

Tokens = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Study:
    """Images that every method makes.

    Attributes:
        asked: Real images whose prompts are used.
        guidances: Guidance scales at which every method makes the images.
        sampler: Sampler settings of all images.
        seed: Seed of the first prompt; each prompt has the next one, so that none share noise.
        compared: Number of images that plain decoding makes too, to compare tokens.
        negative_prompt: Text that guidance leads away from; None is the model's own.
    """

    asked: RealImages
    guidances: Sequence[float]
    sampler: SamplerConfig
    seed: int
    compared: int
    negative_prompt: str | None = None

    def __post_init__(self) -> None:
        if self.compared < 0:
            raise ValueError(f"images to compare must be 0 or more, got {self.compared}")

    def images(self, methods: int) -> int:
        """Number of images that are made in all."""
        compared = min(self.compared, len(self.asked))
        return len(self.guidances) * (methods * len(self.asked) + compared)

    def requests(self, pipeline: Pipeline, guidance: float) -> list[Request]:
        """Requests of one image for each prompt."""
        return [
            request
            for place, prompt in enumerate(self.asked.prompts)
            for request in pipeline.requests(
                prompt,
                seed=self.seed + place,
                n=1,
                guidance=guidance,
                sampler=self.sampler,
                negative_prompt=self.negative_prompt,
            )
        ]


def load(model: ModelSettings, drafters: Sequence[str], rules: Sequence[str]) -> list[Pipeline]:
    """Pipelines of plain decoding and of every drafter by every rule, around one target."""
    for rule in rules:
        read_rule(rule)
    plain = Pipeline.load(model, DraftSettings(drafter="plain"))
    methods = [
        Pipeline(
            plain.target,
            drafter=drafter,
            rule=rule,
            slots=model.slots,
            deterministic=model.deterministic,
        )
        for drafter in drafters
        for rule in rules
    ]
    return [plain, *methods]


def measure(
    plain: Pipeline,
    methods: Sequence[Pipeline],
    study: Study,
    judge: Judge,
    each: Callable[[], object] = lambda: None,
) -> QualityReport:
    """Make the images of a study and judge them.

    Args:
        plain: Pipeline that decodes without drafts.
        methods: Pipelines of the methods, around the same target.
        study: Images to make.
        judge: Judge of their quality.
        each: Called after every image.
    """
    rows: list[QualityRow] = []
    for guidance in study.guidances:
        known: dict[Tokens, Quality] = {}
        requests = study.requests(plain, guidance)
        compared = requests[: study.compared]
        reference = plain.run(compared, each=lambda _: each()) if compared else None
        for method in methods:
            result = method.run(requests, each=lambda _: each())
            tokens: Tokens = tuple(tuple(picture.tokens) for picture in result.pictures)
            measured = tokens not in known
            if measured:
                images = [np.asarray(image) for image in result.images]
                known[tokens] = judge.quality(images, range(len(images)))
            rows.append(
                QualityRow(
                    guidance=guidance,
                    drafter=result.drafter,
                    rule=result.rule,
                    exact=result.exact,
                    images=len(requests),
                    tokens_per_forward=round(result.stats.tokens_per_forward, 3),
                    seconds_per_image=round(result.seconds / len(requests), 3),
                    compared_with_plain=len(compared),
                    same_as_plain=_same(reference, result),
                    measured=measured,
                    quality=known[tokens],
                )
            )
    return QualityReport(
        rows=rows,
        real=judge.ceiling,
        model=plain.target.name,
        sampler=study.sampler,
        machine=machine(plain.target.device),
        versions=versions(),
    )


def _same(reference: Result | None, result: Result) -> int:
    """Number of the first images that have the tokens of plain decoding."""
    plain = reference.pictures if reference else []
    return sum(a.tokens == b.tokens for a, b in zip(plain, result.pictures, strict=False))
