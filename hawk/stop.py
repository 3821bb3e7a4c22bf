"""Stop: Ctrl-C and SIGTERM end a command with a sentence, whenever they come.

A handler that raises inside one of Ray's waits breaks them, so while Ray is at work signals are
noted, and looked at between two waits (`held`, `check`). Elsewhere they raise at once. A command
that takes too long to end is ended.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S, HASTE_S = 15.0, 1.0
KEEP_S = 0.001
ACTION_BYTES = 256  # larger than a `struct sigaction` on any system


class Stopped(BaseException):
    """A signal, by its number, wants this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stop:
    """The first signal of a command that listens; later ones do not disturb its end.

    Attributes:
        advice: End of the sentence that tells the user.
        patience_s: Seconds that the command may take to end.
        number: Number of the signal that came; None before.
        again: True where another signal has come since.
        held: Number of running blocks that a signal must not break.
    """

    def __init__(self, advice: str) -> None:
        self.advice, self.patience_s = advice, PATIENCE_S
        self.number: int | None = None
        self.again = False
        self.held = 0
        self._ended = threading.Event()

    def check(self) -> None:
        """Raise Stopped where a signal has come."""
        if self.number is not None:
            raise Stopped(self.number)

    def say(self, number: int) -> int:
        """Tell the user and return the exit status."""
        sys.stderr.write(f"hawk: stopped by {signal.Signals(number).name}{self.advice}\n")
        sys.stderr.flush()
        return 128 + number

    @contextlib.contextmanager
    def listening(self) -> Generator[None, None, None]:
        """A block with our handlers, and a thread that ends the process where it does not end."""
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        thread = threading.Thread(target=self._enforce, args=[reader], daemon=True)
        thread.start()
        woken = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken)
            self._ended.set()
            os.close(self._writer)
            thread.join()
            os.close(reader)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.number is not None:
            self.again = True
            return
        self.number = number
        signal.alarm(0)  # Abseil's, see `handlers_kept`, where it was a millisecond faster
        os.write(self._writer, bytes([number]))  # an event loop may be woken in the thread's place
        if not self.held:
            raise Stopped(number)

    def _enforce(self, reader: int) -> None:
        while told := os.read(reader, 1):
            if told[0] in SIGNALS:
                if not self._ended.wait(self.patience_s):
                    os._exit(self.say(told[0]))
                return


_current: Stop | None = None


@contextlib.contextmanager
def stoppable(advice: str = "") -> Generator[Stop, None, None]:
    """Listen for signals in the block, which ends with a sentence and SystemExit where one comes.

    In a block of another `stoppable` its advice is what changes.
    """
    global _current  # a process has one set of handlers
    outer = _current
    stop = Stop(advice) if outer is None else outer
    before, stop.advice = stop.advice, advice
    in_main = threading.current_thread() is threading.main_thread()
    _current = stop
    try:
        with stop.listening() if outer is None and in_main else contextlib.nullcontext():
            try:
                yield stop
            except Stopped as stopped:
                raise SystemExit(stop.say(stopped.number)) from None
    finally:
        _current, stop.advice = outer, before


@contextlib.contextmanager
def held() -> Generator[None, None, None]:
    """A block that signals do not break; one that came meanwhile is raised after it."""
    stop = _current or Stop("")
    stop.held += 1
    try:
        yield
    finally:
        stop.held -= 1
    if not stop.held:
        stop.check()


@contextlib.contextmanager
def in_haste() -> Generator[None, None, None]:
    """A block that may be ended soon after a signal, as it has nothing to lose."""
    stop = _current or Stop("")
    before, stop.patience_s = stop.patience_s, HASTE_S
    try:
        yield
    finally:
        stop.patience_s = before


def check() -> None:
    """Raise Stopped where a signal has come; code that waits calls it now and then."""
    if _current is not None:
        _current.check()


@contextlib.contextmanager
def handlers_kept() -> Generator[None, None, None]:
    """A block in which handlers of signals stay as they are.

    Ray's `init` takes SIGTERM for itself in Python, and below it for Abseil, which prints the stack
    and aborts the process three seconds later; its `shutdown` resets it and goes on for seconds.
    """
    libc, done = ctypes.CDLL(None), threading.Event()
    ours = {number: ctypes.create_string_buffer(ACTION_BYTES) for number in SIGNALS}
    for number, action in ours.items():
        libc.sigaction(number, None, action)

    def keep() -> None:
        while not done.wait(KEEP_S):
            for number, action in ours.items():
                libc.sigaction(number, action, None)

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    module: Any = signal
    taken = module.signal
    module.signal = lambda number, _: signal.getsignal(number)
    try:
        yield
    finally:
        module.signal = taken
        done.set()
        keeper.join()
        for number, action in ours.items():
            libc.sigaction(number, action, None)
