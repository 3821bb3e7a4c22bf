"""Errors of loading: advice, in one sentence, where a model was not found or could not be read."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants, is_offline_mode
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx  # the one that its client is made of

from hawk.targets.source import EMBEDDED, Source

UNAUTHORIZED = 401
NO_CONNECTION = (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, httpx.HTTPError)
Link = TypeVar("Link", bound=BaseException)


def absent(source: Source, error: Exception) -> str:
    """Advice about a model that was not found, by the error of its hub or of the machine."""
    name = source.name
    if Path(source.location).is_file():
        return f"{name!r} is a file: give the folder of a model, or see `hawk convert --help`"
    if _first(error, GatedRepoError):
        return (
            f"{name!r} is gated: accept its licence on its page of the hub, then set HF_TOKEN or "
            f"run `hf auth login`"
        )
    if _first(error, RevisionNotFoundError):
        return (
            f"{source.location!r} has no revision {source.revision!r}: give a commit, tag or "
            f"branch of it behind the @"
        )
    unknown = _first(error, RepositoryNotFoundError)
    return (not unknown and (_hub(error, name) or _machine(error))) or (
        f"no model {name!r}: give one of {', '.join(EMBEDDED)}, a folder with config.json, "
        f"or a hub id (of a private model, set HF_TOKEN)"
    )


def unread(error: Exception) -> str:
    """Advice about a model whose files could not be downloaded or read."""
    if told := _machine(error):
        return told
    if _first(error, GatedRepoError):
        return "part of it is gated: accept its licence on the hub, then set HF_TOKEN"
    if any(_first(error, kind) for kind in NO_CONNECTION):
        return (
            "the hub cannot be reached for all of its files: run it again once there is a "
            "connection, what was downloaded is kept"
        )
    why = str(error).strip() or type(error).__name__
    return f"get its files again ({why.splitlines()[0]})"


def _hub(error: Exception, name: str) -> str | None:
    """Advice about a hub that does not tell whether it has the model; None for another error."""
    answer = _first(error, HfHubHTTPError)
    if answer is not None:
        status = answer.response.status_code
        if status == UNAUTHORIZED:
            return "the hub does not know HF_TOKEN, or what `hf auth login` stored: give another"
        return f"the hub answers {status} for {name!r}: try again later"
    if not any(_first(error, kind) for kind in NO_CONNECTION):
        return None
    offline = " (HF_HUB_OFFLINE is set)" if is_offline_mode() else ""
    return (
        f"no model {name!r} on this machine, and the hub cannot be reached{offline}: "
        f"give one of {', '.join(EMBEDDED)}, a folder, or a hub id once there is a connection"
    )


def _machine(error: Exception) -> str | None:
    """Advice about a full disk, or files without permission; None for another error."""
    for fault in _chain(error):
        if isinstance(fault, OSError) and fault.errno == errno.ENOSPC:
            cache = constants.HF_HUB_CACHE
            return (
                f"no space is left for the cache {cache}: free some, or set HF_HOME to another disk"
            )
        if isinstance(fault, OSError) and fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"{fault.filename}: {fault.strerror}"
    return None


def _first(error: BaseException, kind: type[Link]) -> Link | None:
    """First error of some kind among an error and its causes."""
    return next((link for link in _chain(error) if isinstance(link, kind)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
