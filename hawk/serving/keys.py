"""API keys: who may use the service."""

import hashlib
import hmac
import re
from collections.abc import Mapping

from hawk.serving.errors import ApiError

VARIABLE = "HAWK_API_KEYS"
LEAST_CHARS = 16
# RFC 6750: what clients can send; not what was meant for a hash and would open the door as it is
TOKEN = re.compile(r"(?!sha-?[0-9])[a-z0-9._~+/-]+=*", re.IGNORECASE)
HASHED = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)


class Keys:
    """The keys that are let in, kept as hashes only.

    Args:
        text: Keys, comma separated, each as it is or as `sha256:` and its hash in hex. ValueError
            for keys that can be guessed or not be sent.
    """

    def __init__(self, text: str) -> None:
        words = [word.strip() for word in text.split(",")]
        self._hashes = [_hash_of(number, word) for number, word in enumerate(words, 1) if word]

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


def _hash_of(number: int, word: str) -> str:
    """What a key is compared by; the sentence of an error does not hold the key."""
    hashed = HASHED.fullmatch(word)
    if hashed:
        return hashed[1].lower()
    if len(word) < LEAST_CHARS:
        raise ValueError(
            f"key {number} of {VARIABLE} has {len(word)} characters: use {LEAST_CHARS} or more, "
            f"for example of `openssl rand -hex 32`"
        )
    if not TOKEN.fullmatch(word):
        raise ValueError(
            f"key {number} of {VARIABLE} is neither sha256: with 64 hex digits nor a token of "
            f"letters, digits and -._~+/ (= at the end): use one of `openssl rand -hex 32`"
        )
    return _digest(word)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("latin-1")).hexdigest()  # the bytes of a header
