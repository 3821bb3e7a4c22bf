"""Example: a picture of Hawk whose settings others take, `hawk generate --like FILE`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hawk.images.origin import Maker, Origin
    from hawk.pictures import Result


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture, its origin, and the options that replace parts of it.

    Attributes:
        file: File of the picture.
        origin: Origin of the picture.
        given: Names of options that the user gave, which go before the origin.
    """

    file: Path
    origin: "Origin"
    given: frozenset[str]

    @classmethod
    def read(cls, file: Path, given: frozenset[str]) -> "Example":
        """The example in a file. ValueError where the picture does not hold its origin."""
        from hawk.images.encoding import read_origin

        return cls(file=file, origin=read_origin(file), given=given)

    def settings(self) -> dict[str, Any]:
        """Prompt and settings of the picture by the names of options, without those given."""
        request, maker = self.origin.request, self.origin.maker
        found = {
            "prompt": request.prompt,
            "seed": request.seed,
            "guidance": request.guidance,
            "negative_prompt": request.negative_prompt,
            **asdict(request.sampler),
            "model": maker.model,
            # With this rule every drafter makes the same image.
            "drafter": "auto" if maker.rule == "coupled" else maker.drafter,
            "rule": maker.rule,
            "dtype": maker.dtype or "auto",
            "size": self.origin.size,
        }
        return {name: value for name, value in found.items() if name not in self.given}

    def refuse_other_weights(self, maker: "Maker") -> None:
        """ValueError where the picture's model has other weights now, unless --model was given."""
        was = self.origin.maker.model_revision
        if "model" not in self.given and was and was != maker.model_revision:
            raise ValueError(
                f"{self.file} was made with weights {was} of {maker.model}, which has "
                f"{maker.model_revision} now: give --model for pictures of other weights"
            )

    def compare(self, result: "Result") -> dict[str, Any] | None:
        """Whether the first picture has the tokens of this one; None where its request differs."""
        from hawk.images.gallery import tokens_sha256

        first = result.pictures[0] if result.pictures else None
        if first is None or first.place or first.request != self.origin.request:
            return None
        same = tokens_sha256(first.tokens) == self.origin.tokens_sha256
        return {"file": str(self.file), "same": same}
