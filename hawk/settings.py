"""Settings: every choice that more than one interface offers, with its default and sentence, once.

The command line has an option for each field (`hawk.cli.command`), the service's YAML a key, and
batch jobs, actors and manifests carry the objects themselves. A new setting is a field here and
its use. Imports neither torch nor Ray.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, TypeVar

from hawk.decoding import bounds
from hawk.decoding.bounds import parse_size

RUNTIME = frozenset({"device", "compile", "slots", "prompt_limit", "placement"})
"""Settings that change how fast images come, and never which they are."""

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Setting:
    """Sentence for a field's users, and the words for its default where that is None."""

    help: str
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Model to load, and how its passes run. ValueError for a size or a number out of range."""

    model: Annotated[str, Setting("Embedded model, folder, or hub id, as id or id@revision.")] = (
        "emoji"
    )
    size: Annotated[
        str | None, Setting("WIDTHxHEIGHT in pixels (Emu3, Lumina-mGPT).", "model's")
    ] = None
    dtype: Annotated[str, Setting("auto, float32, bfloat16 or float16.")] = "auto"
    deterministic: Annotated[
        bool,
        Setting(
            "Passes of one shape, so that half precision rounds alike whatever drafts: the tokens "
            "of plain decoding, in every dtype."
        ),
    ] = False
    device: Annotated[
        str,
        Setting("auto, cpu, cuda, ...; cuda:0,cuda:1 divides the layers of a model among them."),
    ] = "auto"
    compile: Annotated[
        bool,
        Setting(
            "Compile the model's layers: faster passes on a GPU after half a minute; for long work."
        ),
    ] = False
    slots: Annotated[int, Setting("Images in flight at most.")] = 8
    prompt_limit: Annotated[
        int | None,
        Setting(
            "Longest prompt in tokens; memory grows with the prompts that are there.",
            "512, or the model's",
        ),
    ] = None

    def __post_init__(self) -> None:
        parse_size(self.size)
        if bounds.whole("slots", self.slots) < 1:
            raise ValueError(f"slots must be 1 or more, got {self.slots}")
        if self.prompt_limit is not None and bounds.whole("prompt_limit", self.prompt_limit) < 1:
            raise ValueError(f"prompt_limit must be 1 or more tokens, got {self.prompt_limit}")

    @property
    def height_width(self) -> tuple[int, int] | None:
        """Size in pixels as targets take it."""
        return parse_size(self.size)


@dataclass(frozen=True, kw_only=True)
class DraftSettings:
    """Drafter, the rule its drafts are accepted by, and where it runs."""

    drafter: Annotated[str, Setting("auto, a name, or the folder of a trained one.")] = "auto"
    rule: Annotated[
        str,
        Setting(
            "coupled, residual, typical, neighbour or cluster; parameters as in typical:delta=0.2."
        ),
    ] = "coupled"
    placement: Annotated[
        str,
        Setting(
            "colocated, or pair: the drafter in a process or on a GPU of its own (needs Ray); "
            "parameters as in pair:lanes=2:draft_gpus=0.5."
        ),
    ] = "colocated"


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """Guidance and sampler; None is the model's own. ValueError for a value out of bounds."""

    guidance: Annotated[
        float | None, Setting("Classifier-free guidance, 1 is none.", "model's")
    ] = None
    negative_prompt: Annotated[
        str | None, Setting("Text that guidance leads away from (Emu3).", "model's")
    ] = None
    temperature: Annotated[
        float | None, Setting("Divisor of the logits; 0 takes the likeliest token.", "model's")
    ] = None
    top_k: Annotated[
        int | None, Setting("Number of likeliest tokens to keep, 0 for all.", "model's")
    ] = None
    top_p: Annotated[
        float | None, Setting("Probability mass of likeliest tokens to keep.", "model's")
    ] = None

    def __post_init__(self) -> None:
        for check in (bounds.guidance, bounds.temperature, bounds.top_k, bounds.top_p):
            value = getattr(self, check.__name__)
            if value is not None:
                check(value)

    @property
    def sampler(self) -> dict[str, Any]:
        """Temperature, top-k and top-p, for `SamplerConfig.override`."""
        return {name: getattr(self, name) for name in ("temperature", "top_k", "top_p")}


def refuse_apart(model: ModelSettings, placement: str) -> None:
    """ValueError where passes are to be deterministic and the drafter in another process: its lanes
    have shapes of their own."""
    if model.deterministic and placement != DraftSettings.placement:
        raise ValueError(
            f"deterministic passes need the drafter in the target's process, got placement "
            f"{placement}: leave out one of them"
        )


def changed(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Copy of some settings with those of the values that they have a field for."""
    found: Any = settings
    names = {field.name for field in fields(found)}
    return replace(found, **{name: value for name, value in values.items() if name in names})


def identity(*groups: ModelSettings | DraftSettings | SamplerSettings) -> dict[str, Any]:
    """Values, by name, that decide which images are made."""
    values = {name: value for group in groups for name, value in asdict(group).items()}
    # Rows of a pass are padded to the slots then, and half precision rounds by that shape.
    kept = {"slots"} if values.get("deterministic") else set[str]()
    return {name: value for name, value in values.items() if name not in RUNTIME - kept}
