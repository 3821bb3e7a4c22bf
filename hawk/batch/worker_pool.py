"""WorkerPool: workers as Ray actors, each kept supplied with shards, replaced when lost.

Plain actors, not Ray Data's pool (`map_batches` with an actor class), which cannot give what a job
of days needs. Measured on Ray 2.60: a row that kills its process is retried for ever, since tasks
and actors restart without limit and nobody learns what was in flight; errored blocks that are
allowed for vanish, and the run reports success; and a call returns when its batch is done, so the
slots of a session would run empty at the end of every shard. For data sets in one's own Ray Data
pipeline there is `processor.py`.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, remove_placement_group

from hawk import stop
from hawk.batch import capacity
from hawk.batch.job_settings import JobSettings
from hawk.batch.worker_messages import Assignment, Provenance, RowKey, WorkerReport
from hawk.cluster import reservation
from hawk.cluster.placement import Placement
from hawk.storage.folder import StorageError

CALLS_AHEAD = 2  # a worker need not wait for the driver between two calls
TICK_S = 0.5
SILENCE_S = 1800.0  # a call takes seconds; a worker that is silent for so long hangs
FRUITLESS = 20  # so many workers lost without one image between them: it is not the rows
TELL_S = 10.0
REACH_S = 5.0  # an autoscaler thinks as often
CLOSE_S = 5.0
STARTS = 3  # as many workers may die while they load the model


class _Actor:
    """The process of a worker. It loads apart from its creation, so that errors keep their type."""

    def start(self, placement: Placement | None, **arguments: Any) -> Provenance:
        from hawk.batch.worker import Worker  # loads torch, which the run itself does not need

        if placement is not None:
            from hawk.cluster.drafter_process import DrafterProcess

            arguments["assemble"] = DrafterProcess(placement).pipeline
        self._worker = Worker(**arguments)
        return self._worker.provenance()

    def work(self, assignments: list[Assignment]) -> WorkerReport:
        return self._worker.work(assignments)

    def close(self) -> None:
        self._worker.close()


@dataclass(kw_only=True)
class _Member:
    """A worker process, what it has been given, and what it said last.

    Attributes:
        group: Placement group of worker and drafter, where that has a process of its own.
        calls: Outstanding calls in the order in which they were made.
        news: Call that brought its last shard; answers to earlier ones do not know of that.
        heard: Time of its last answer.
    """

    actor: Any
    group: PlacementGroup | None
    calls: list[Any]
    up: bool = False
    wants_shard: bool = True
    news: Any = None
    shards: set[int] = field(default_factory=set)
    in_flight: list[RowKey] = field(default_factory=list)
    heard: float = field(default_factory=time.monotonic)


Plan = Callable[[Provenance], Sequence[int]]
Assign = Callable[[int, dict[int, tuple[int, str]]], Assignment]


class WorkerPool:
    """Up to `workers.most` workers, as the cluster has room for them.

    Args:
        settings: Settings of the job.
        arguments: Keyword arguments of `Worker`.
        say: Function that shows the user a note.
    """

    def __init__(
        self,
        settings: JobSettings,
        arguments: dict[str, Any],
        say: Callable[[str], object],
    ) -> None:
        self._settings, self._arguments, self._say = settings, arguments, say
        self._workers = settings.workers
        self._members: list[_Member] = []
        self._pending: deque[int] = deque()
        self._strikes: dict[int, dict[int, tuple[int, str]]] = {}
        self._fruitless = self._failed_starts = 0
        self._started = False  # whether enough workers have been up
        self._planned = False
        self._enough = self._told = self._asked = time.monotonic()
        self._reach = settings.workers.most  # so many the cluster can grow to

    def run(self, plan: Plan, assign: Assign) -> Iterator[WorkerReport | None]:
        """Make all shards; yields what workers report, and None when they are silent.

        Args:
            plan: Function of what a worker that came up has loaded; returns the numbers of the
                shards to make, the first time, and with none after that.
            assign: Function that makes the assignment for a shard and the strikes of its rows.

        StorageError where a file cannot be written, ValueError where the model cannot be loaded,
        RuntimeError where too few workers come up or too many are lost.
        """
        while self._pending or any(member.shards for member in self._members) or not self._planned:
            self._adjust()
            for member in self._members:
                self._supply(member, assign)
            calls = {call: member for member in self._members for call in member.calls}
            for call in answered(list(calls)):
                outcome = self._take(calls[call], call)
                if isinstance(outcome, Provenance):
                    self._pending.extend(plan(outcome))
                    self._planned = True
                else:
                    yield outcome
            yield None
            stop.check()
            self._check_reach()
            self._check_numbers()
            self._check_silence()

    def close(self) -> None:
        """End all workers; those at work may drop their files first."""
        busy = [member.actor.close.remote() for member in self._members if member.shards]
        if busy:
            ray.wait(busy, num_returns=len(busy), timeout=CLOSE_S)
        for member in list(self._members):
            self._dismiss(member)

    def _adjust(self) -> None:
        """As many workers as there is work for; a cluster that can grow sees those that wait."""
        idle = [member for member in self._members if not member.shards]
        idle.sort(key=lambda member: not member.up)
        busy = len(self._members) - len(idle)
        work = busy + len(self._pending) if self._planned else self._workers.least
        wanted = min(self._workers.most, work)
        while len(self._members) > wanted and idle:
            self._dismiss(idle.pop())
        while len(self._members) < wanted:
            self._start()

    def _start(self) -> None:
        workers, placement = self._workers, self._settings.placement
        options: dict[str, Any] = {
            "num_cpus": workers.cpus_per_worker,
            "num_gpus": workers.gpus_per_worker,
        }
        group = None
        if placement is not None:
            group = reservation.request(placement)
            options = reservation.within(group, 0, placement.bundles()[0])
        process: Any = ray.remote(_Actor)
        actor = process.options(max_restarts=0, **options).remote()
        started = actor.start.remote(placement, **self._arguments)
        self._members.append(_Member(actor=actor, group=group, calls=[started]))

    def _dismiss(self, member: _Member) -> None:
        ray.kill(member.actor)
        if member.group is not None:
            remove_placement_group(member.group)
        self._members.remove(member)

    def _supply(self, member: _Member, assign: Assign) -> None:
        """The next shard before slots run dry, and a call ahead."""
        if not member.up:
            return
        if not member.calls:
            member.heard = time.monotonic()
        given: list[Assignment] = []
        if self._pending and member.wants_shard:
            shard = self._pending.popleft()
            given = [assign(shard, self._strikes.get(shard, {}))]
            member.shards.add(shard)
            member.wants_shard = False
        if given or (member.shards and len(member.calls) < CALLS_AHEAD):
            call = member.actor.work.remote(given)
            member.calls.append(call)
            member.news = call if given else member.news

    def _take(self, member: _Member, call: Any) -> WorkerReport | Provenance | None:
        """The outcome of a call."""
        if member not in self._members:
            return None  # lost by a call before this one
        member.calls.remove(call)
        try:
            outcome: Any = ray.get(call)
        except RayError as error:
            self._lose(member, error)
            return None
        member.heard = time.monotonic()
        if isinstance(outcome, Provenance):
            member.up = True
            self._failed_starts = 0
            return outcome
        member.shards -= outcome.files.keys()
        member.in_flight = outcome.in_flight
        if member.news in (None, call):
            member.news, member.wants_shard = None, outcome.wants_shard
        if any(counts.images for counts in outcome.counts.values()):
            self._fruitless = 0
        return outcome

    def _lose(self, member: _Member, error: RayError) -> None:
        """Give its shards to others; rows in flight get a strike. Raises what no retry mends."""
        cause = error.cause if isinstance(error, RayTaskError) else None
        if isinstance(cause, StorageError) or (cause and not member.up):
            raise cause
        what = _sentence(cause or error)
        self._dismiss(member)
        if not member.up:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise RuntimeError(f"{STARTS} workers died while they loaded the model: {what}")
        for shard, place in member.in_flight:
            of_shard = self._strikes.setdefault(shard, {})
            of_shard[place] = (of_shard.get(place, (0, ""))[0] + 1, what)
        self._pending.extendleft(sorted(member.shards, reverse=True))
        self._fruitless += 1
        if self._fruitless >= FRUITLESS:
            raise RuntimeError(
                f"{FRUITLESS} workers were lost without one image between them: {what}"
            )
        self._say(f"a worker was lost, its {len(member.shards)} shards begin anew: {what}")

    def _check_reach(self) -> None:
        """Go on with the workers there are, and say so, where the cluster grows no further."""
        waiting = sum(not member.up for member in self._members)
        now = time.monotonic()
        if not waiting or now - self._asked < REACH_S:
            return
        self._asked = now
        within = len(self._members) - min(waiting, capacity.out_of_reach(self._settings))
        if 0 < within < min(self._reach, len(self._members)):
            self._say(
                f"the cluster grows to {within} of {len(self._members)} workers: "
                f"the job goes on with these"
            )
        self._reach = max(1, within)

    def _check_numbers(self) -> None:
        """Say what is missing while too few workers are up; give up in the end."""
        now = time.monotonic()
        least = 1 if self._started else min(self._workers.least, self._reach)
        if sum(member.up for member in self._members) >= min(least, len(self._members)):
            self._started, self._enough = True, now
        elif now - self._enough > self._workers.start_timeout:
            raise RuntimeError(
                f"no {least} workers within {self._workers.start_timeout:g} s: "
                f"{capacity.resources(self._settings)}; free some, or ask for less"
            )
        elif now - max(self._enough, self._told) > TELL_S:
            self._told = now
            self._say(f"waiting for workers: {capacity.resources(self._settings)}")

    def _check_silence(self) -> None:
        now = time.monotonic()
        for member in list(self._members):
            if member.up and member.calls and now - member.heard > SILENCE_S:
                self._lose(member, RayError(f"silent for {SILENCE_S:g} s"))


def answered(calls: Sequence[Any]) -> list[Any]:
    """Calls in flight that have an answer; waits a moment for the first.

    All at once, since a wait takes the longer the more calls there are (docs/scale.md).
    """
    first, rest = ray.wait(list(calls), num_returns=1, timeout=TICK_S)
    if not first or not rest:
        return first
    more, _ = ray.wait(rest, num_returns=len(rest), timeout=0)
    return first + more


def _sentence(error: Exception) -> str:
    """The first line that says something, with the type before it."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text[:300]}"
