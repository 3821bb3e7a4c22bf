"""Progress: a bar on a terminal, else a line of log every few seconds."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hawk.batch.shard import Counts

LINE_S = 5.0
COLUMNS = (
    TextColumn("rows"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.description}"),
    TimeRemainingColumn(),
)


class Meter:
    """Shows how far a job is. A context manager.

    Attributes:
        rate: Images a second since the first worker was up.
        seconds: Seconds since the first worker was up.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(*COLUMNS, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task("", total=None)
        self._rows = 0
        self._before = Counts()
        self._made = 0
        self._begun: float | None = None
        self._told = 0.0

    def __enter__(self) -> "Meter":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, rows: int, before: Counts) -> None:
        """Start the clock: `before` of the `rows` were there already."""
        self._rows, self._before, self._begun = rows, before, time.monotonic()
        self._told = self._begun
        self.update(before)

    def update(self, counts: Counts) -> None:
        """Show what there is by now, `before` included; nothing before `begin`."""
        if self._begun is None:
            return
        self._made = counts.images - self._before.images
        text = f"{self.rate:.2f} images/s"
        if counts.forwards:
            text += f", {counts.tokens / counts.forwards:.2f} tokens per forward"
        if counts.failed:
            text += f", {counts.failed} failed"
        self._progress.update(self._task, total=self._rows, completed=counts.rows, description=text)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._told >= LINE_S:
            self._told = now
            left = (self._rows - counts.rows) / self.rate if self.rate else None
            self.say(
                f"{counts.rows} of {self._rows} rows, {text}"
                + ("" if left is None else f", {left:.0f} s left")
            )

    def say(self, text: str) -> None:
        """A line for the user."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @property
    def seconds(self) -> float:
        return 0.0 if self._begun is None else time.monotonic() - self._begun

    @property
    def rate(self) -> float:
        return self._made / self.seconds if self.seconds else 0.0
