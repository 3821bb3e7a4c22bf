"""API keys: who may use the service."""

import hashlib
import hmac
import re
from collections.abc import Mapping

from serve.errors import ApiError

VARIABLE = "HAWK_API_KEYS"
LEAST_CHARS = 16
HASHED = re.compile(r"sha256:([0-9a-f]{64})")


class Keys:
    """The keys that are let in, kept as hashes only.

    Args:
        text: keys, comma separated, each as it is or as `sha256:` and its hash in hex. ValueError
            for keys that can be guessed.
    """

    def __init__(self, text: str) -> None:
        words = [word.strip() for word in text.split(",") if word.strip()]
        short = [word for word in words if len(word) < LEAST_CHARS]
        if short:
            raise ValueError(
                f"{VARIABLE} has a key of {len(short[0])} characters; use {LEAST_CHARS} or more, "
                f"for example of `openssl rand -hex 32`"
            )
        self._hashes = [_hash_of(word) for word in words]

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "Keys":
        return cls(environment.get(VARIABLE, ""))

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def check(self, authorization: str | None) -> str:
        """Who sent this header: a name for the key that tells nothing about it.

        ApiError 401 where no key fits. Takes as long for a good key as for a bad one.
        """
        scheme, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip())
        # All are compared, always: time must not tell which key came close.
        fits = [hmac.compare_digest(given, known) for known in self._hashes]
        if scheme.lower() != "bearer" or True not in fits:
            what = "Incorrect API key provided" if key else "You didn't provide an API key"
            raise ApiError(
                401, f"{what}: send `Authorization: Bearer KEY`.", code="invalid_api_key"
            )
        return given[:8]


def _hash_of(word: str) -> str:
    hashed = HASHED.fullmatch(word)
    return hashed[1] if hashed else _digest(word)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
