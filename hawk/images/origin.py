"""Origin: all that made a picture, enough to make it again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import hawk
from hawk.maker import Maker

if TYPE_CHECKING:
    from hawk.decoding.request import Request

NEEDED = ("prompt", "seed", "guidance", "temperature", "top_k", "top_p", "model")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """All that made one picture.

    Attributes:
        maker: Model, drafter and rule.
        request: Prompt, seed and settings.
        size: WIDTHxHEIGHT in pixels that the user gave; None is the model's own size.
        tokens_sha256: Digest of the image's tokens, to compare a picture that is made again.
        version: Version of Hawk.
    """

    maker: Maker
    request: "Request"
    size: str | None
    tokens_sha256: str
    version: str = hawk.__version__

    def texts(self) -> dict[str, str]:
        """All values as text by name, without those that are None."""
        request, sampler = self.request, self.request.sampler
        values = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "seed": request.seed,
            "guidance": request.guidance,
            **asdict(sampler),
            **asdict(self.maker),
            "size": self.size,
            "tokens_sha256": self.tokens_sha256,
            "hawk_version": self.version,
        }
        return {name: str(value) for name, value in values.items() if value is not None}

    @classmethod
    def read(cls, texts: Mapping[str, str]) -> "Origin":
        """The origin in `texts`. ValueError, with the reason, where some are missing."""
        from hawk.decoding.request import (
            Request,  # imports torch, which writing an origin does not need
        )
        from hawk.decoding.sampler import SamplerConfig

        missing = [name for name in NEEDED if name not in texts]
        if missing:
            raise ValueError(f"does not say its {missing[0].replace('_', ' ')}")
        found: Any = texts
        return cls(
            maker=Maker(**{field.name: found.get(field.name, "") for field in fields(Maker)}),
            request=Request(
                prompt=found["prompt"],
                seed=int(found["seed"]),
                guidance=float(found["guidance"]),
                sampler=SamplerConfig(
                    temperature=float(found["temperature"]),
                    top_k=int(found["top_k"]),
                    top_p=float(found["top_p"]),
                ),
                negative_prompt=found.get("negative_prompt"),
            ),
            size=found.get("size"),
            tokens_sha256=found.get("tokens_sha256", ""),
            version=found.get("hawk_version", ""),
        )
