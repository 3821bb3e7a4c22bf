"""Hosts: the names under which a service without keys may be asked, and by which web pages.

A page anywhere can make its own name point to this machine (DNS rebinding), and the browser of who
looks at it sends its requests here: what gives it away is the `Host` that it was asked for, or what
browsers say of the page in `Origin` and `Sec-Fetch-Site`.
"""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers

from hawk.serving.config import HOST, LOOPBACK
from hawk.serving.errors import ApiError
from hawk.serving.keys import VARIABLE

AUTHORITY = re.compile(rf"({HOST})(?::([0-9]{{1,5}}))?")
MOST_PORT = 65_535


class Hosts:
    """Who may ask by name.

    Args:
        names: Names besides those of this machine alone, without ports.
        origins: Origins of web pages that may ask though they come from elsewhere.
    """

    def __init__(self, names: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        self._names = {name.strip("[]") for name in (*LOOPBACK, *names)}
        self._origins = frozenset(origins)

    def check(self, headers: Headers) -> None:
        """ApiError 403 where a request was meant for another name, or a foreign page has sent it.

        Headers are compared as they came: what does not parse is refused.
        """
        given = [value.lower() for value in headers.getlist("host")]
        if len(given) != 1 or not self._is_ours(given[0]):
            raise _forbidden(
                f"without API keys only localhost is served, got Host {', '.join(given)[:80]!r}: "
                f"set {VARIABLE}, or name the host in `allowed_hosts`"
            )
        # Twice, as no browser sends them, they are none of those that may be.
        origin, site = (
            ", ".join(values) if (values := headers.getlist(name)) else None
            for name in ("origin", "sec-fetch-site")
        )
        if self._is_foreign(origin, site, given[0]):
            raise _forbidden(
                f"without API keys no page of another site is served, got Origin {origin!r:.80}: "
                f"set {VARIABLE}, or name it in `cors_origins`"
            )

    def _is_ours(self, authority: str) -> bool:
        found = AUTHORITY.fullmatch(authority)
        if found is None or int(found[2] or 1) not in range(1, MOST_PORT + 1):
            return False
        return found[1].strip("[]") in self._names

    def _is_foreign(self, origin: str | None, site: str | None, host: str) -> bool:
        """Whether a page that was not loaded from this very host has sent it."""
        if origin in self._origins:
            return False
        if origin is None:
            return site not in (None, "none", "same-origin")
        return origin.lower() not in (f"http://{host}", f"https://{host}")


def _forbidden(message: str) -> ApiError:
    return ApiError(403, message, code="forbidden")
