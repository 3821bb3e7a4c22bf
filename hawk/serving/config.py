"""ServeConfig: all settings of the service, from one YAML file whose unknown keys are errors."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from hawk.cluster.placement import parse_placement
from hawk.serving.keys import VARIABLE
from hawk.settings import DraftSettings, ModelSettings, refuse_apart

if TYPE_CHECKING:
    from hawk.cluster.placement import Placement

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HOST = r"(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])"  # a name or address in a URL


def _host(name: str) -> str:
    if not re.fullmatch(HOST, name):
        raise ValueError(
            f"a name as in http://NAME:8000, in lower case, without port, got {name!r}"
        )
    return name


def _origin(origin: str) -> str:
    if origin != "*" and not re.fullmatch(rf"https?://{HOST}(:[0-9]{{1,5}})?", origin):
        raise ValueError(f"a page's scheme and host, as https://example.org, or *, got {origin!r}")
    return origin


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpConfig(_Section):
    """Where `hawk serve` listens; on a cluster that is the business of Serve's own file."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)


def _key(field: str) -> str:
    """Key of a field in a section that is about a model anyway."""
    return "name" if field == "model" else field


@dataclass(
    frozen=True,
    kw_only=True,
    config=ConfigDict(extra="forbid", alias_generator=_key, populate_by_name=True),
)
class ModelConfig(ModelSettings):
    """What a model replica loads: `ModelSettings`, and how it is offered.

    Attributes:
        served_as: Name of the model for clients; None is its own, of a folder the last part of its
            path.
        drafters: Drafters that requests may choose from, the default first.
        rule: Rule that drafts are accepted by.
        waiting: Number of images beyond the slots that may wait; more get 429.
    """

    served_as: str | None = None
    drafters: tuple[str, ...] = Field(("auto", "plain"), min_length=1)
    rule: str = DraftSettings.rule
    waiting: int = Field(64, ge=10)  # the largest n must find room


class ReplicaConfig(_Section):
    """Number of model replicas, and the resources of each.

    Attributes:
        floor, ceiling: Least and greatest number of replicas; between them it follows the load.
        images: Number of images in flight and waiting that a replica should have on average.
        up_delay_s, down_delay_s: Seconds that the load has to last before replicas come or go.
        cpus, gpus: CPUs and GPUs of each replica; on CPU, torch uses `cpus` threads.
        ingresses: Number of processes that speak HTTP on a cluster; `hawk serve` does so itself.
        placement: Placement as for `hawk generate`; `cpus` and `gpus` are those of a pair's target.
    """

    floor: int = Field(1, ge=1)
    ceiling: int = Field(1, ge=1)
    images: float = Field(16, gt=0)
    up_delay_s: float = Field(10, ge=0)
    down_delay_s: float = Field(300, ge=0)
    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)
    ingresses: int = Field(1, ge=1)
    placement: str = DraftSettings.placement

    @property
    def pair(self) -> "Placement | None":
        """What a target and its drafter take, where they are apart."""
        placement = parse_placement(self.placement)
        return placement and placement.of_worker(cpus=self.cpus, gpus=self.gpus)

    @model_validator(mode="after")
    def _ordered(self) -> "ReplicaConfig":
        if self.ceiling < self.floor:
            raise ValueError(f"ceiling {self.ceiling} is below floor {self.floor}: raise it")
        _ = self.pair  # is an error where it cannot be
        return self


class LimitConfig(_Section):
    """Limits of one request and one client.

    Attributes:
        body_bytes: Bytes of a request.
        prompt_chars: Characters of its prompt.
        images: Number of images of one request.
        seconds: Seconds from request to image; no header lifts it.
        requests_per_key: Requests at the same time, per ingress; without keys all clients share
            them.
    """

    body_bytes: int = Field(65_536, ge=1_024)
    prompt_chars: int = Field(4_000, ge=1)
    images: int = Field(10, ge=1, le=10)
    seconds: float = Field(300, gt=0)
    requests_per_key: int = Field(64, ge=1)


class ServeConfig(_Section):
    """The whole service.

    Attributes:
        keys: `required` (in the environment, HAWK_API_KEYS), or `open`: whoever reaches the port
            may use it. `hawk serve` refuses `open` anywhere but on loopback.
        allowed_hosts: names, without ports, that a service without keys may be asked by besides
            localhost; any other is refused, since web pages can make theirs point here.
        cors_origins: web pages, as https://example.org, whose scripts may use the service; `*` is
            all of them, and needs keys.
    """

    http: HttpConfig = HttpConfig()  # pyright: ignore[reportCallIssue]
    model: ModelConfig = ModelConfig()  # pyright: ignore[reportCallIssue]
    replicas: ReplicaConfig = ReplicaConfig()  # pyright: ignore[reportCallIssue]
    limits: LimitConfig = LimitConfig()  # pyright: ignore[reportCallIssue]
    keys: Literal["required", "open"] = "required"
    allowed_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    cors_origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = ()

    @field_validator("model", mode="before")
    @classmethod
    def _named(cls, model: Any) -> Any:
        """Settings of a model that is only named."""
        return {"name": model} if isinstance(model, str) else model

    @model_validator(mode="after")
    def _closed(self) -> "ServeConfig":
        refuse_apart(self.model, self.replicas.placement)
        if self.keys == "open" and "*" in self.cors_origins:
            raise ValueError(
                f"cors_origins * lets every web page use a service without keys: name those that "
                f"may, or set {VARIABLE}"
            )
        return self

    @property
    def fingerprint(self) -> str:
        """Tells the settings of one deployment from those of another."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def served_as(self) -> str:
        """The name of the model for clients; a folder's path stays private."""
        name = self.model.model
        return self.model.served_as or (Path(name).name if Path(name).is_dir() else name)


def read_config(file: Path) -> ServeConfig:
    """Settings of a YAML file. ValueError that lists every mistake in it."""
    return check_config(_read(file), str(file))


def overridden(
    file: Path | None, options: Mapping[str, Mapping[str, Any]], *, cpus: int
) -> ServeConfig:
    """Settings of a file, if any, then of the options that were given, by section.

    Replicas share `cpus` evenly unless the file says otherwise. ValueError as for `read_config`.
    """
    raw = _read(file) if file is not None else {}
    check_config(raw, str(file))
    for section, values in options.items():
        before = raw.get(section, {})
        raw[section] = ({"name": before} if isinstance(before, str) else before) | dict(values)
    replicas = raw.setdefault("replicas", {})
    replicas.setdefault("cpus", max(1, cpus // replicas.get("ceiling", 1)))
    return check_config(raw, "options")


def _read(file: Path) -> Any:
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if isinstance(raw, dict):  # a section without settings is as good as none
        return {name: section for name, section in raw.items() if section is not None}
    return {} if raw is None else raw


def check_config(raw: Any, source: str) -> ServeConfig:
    """Settings from plain data. ValueError that lists every mistake in it."""
    try:
        return ServeConfig.model_validate(raw)
    except ValidationError as error:
        raise ValueError("\n".join(f"{source}: {_sentence(e)}" for e in error.errors())) from error


def _sentence(error: Any) -> str:
    place = ".".join(map(str, error["loc"])) or "the file"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key {place}"
    if error["type"] == "value_error":  # a sentence of ours
        return f"{place}: {error['ctx']['error']}"
    return f"{place}: {error['msg']}, got {error['input']!r}"
