"""Accidents: prompts that kill the worker that makes them. Installed in Ray's workers by tests."""

import os
import signal
from pathlib import Path

from hawk.decoding.request import Request
from hawk.decoding.session import Session
from hawk.decoding.target import Branches

POISON = "poison"  # kills every worker
ONCE = "once "  # kills the first worker; the rest of the prompt is where it remembers that


def install() -> None:
    """Watch what enters sessions, and die in the pass after a prompt of ours."""
    submit, step = Session.submit, Session.step

    def watched_submit(self: Session, request: Request, branches: Branches | None = None) -> int:
        ticket = submit(self, request, branches)
        if request.prompt.startswith((POISON, ONCE)):
            self.__dict__.setdefault("deadly", []).append(request.prompt)
        return ticket

    def watched_step(session: Session) -> object:
        for prompt in session.__dict__.get("deadly", []):
            if prompt.startswith(ONCE):
                memory = Path(prompt.removeprefix(ONCE))
                if memory.exists():
                    continue
                memory.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return step(session)

    Session.submit = watched_submit
    Session.step = watched_step  # type: ignore[assignment]
