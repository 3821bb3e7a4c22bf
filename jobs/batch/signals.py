"""Signals: Ctrl-C and SIGTERM as one exception, once."""

import contextlib
import signal
from collections.abc import Generator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Somebody wants this process to end.

    Attributes:
        code: what to exit with, 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextlib.contextmanager
def stoppable() -> Generator[None, None, None]:
    """Raise `Stopped` in the main thread at the first signal; later ones do not disturb it."""

    def stop(number: int, _: FrameType | None) -> None:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
