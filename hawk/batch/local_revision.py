"""Weights: whether a model on this machine is still the one that a job began with."""

from pathlib import Path


def local_revision(model: str) -> str | None:
    """Fingerprint of a model's weights, without loading them; None where they are not here."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    from hawk.targets import locate  # imports torch, which a run that makes images does not need
    from hawk.targets.revision import fingerprint

    location, revision = locate(model)
    if Path(location).is_dir():
        folder = Path(location)
    else:
        try:
            config = try_to_load_from_cache(str(location), "config.json", revision=revision)
        except HFValidationError:
            return None
        if not isinstance(config, str):
            return None
        folder = Path(config).parent
    try:
        return fingerprint(folder)
    except ValueError:
        return None
