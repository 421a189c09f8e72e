"""Performs the steps of the protocol in every order there is, and looks at each state once.

Main and the channels are the generators of the library.  A run is repeated from the start with a
chosen order of steps; states that were seen before (where each generator stands, what it holds, the
counts of the semaphores) are not gone into again.  No thread is used.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fixedram_fmt.multifd.protocol import Channel, Post, Protocol, Run, Wait

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable, Sequence

__all__ = ["DeadlockError", "JobFailedError", "ViolationError", "explore"]


class JobFailedError(Exception):
    """What a job raises that is meant to fail."""


class ViolationError(AssertionError):
    """Something that must never be was seen; the message has the order of steps."""


class DeadlockError(ViolationError):
    """Nobody can go on, and somebody has not ended."""


@dataclass
class Machine:
    """One run: the protocol, its processes, and what has been done so far."""

    protocol: Protocol[int]
    script: str
    failing: frozenset[int]
    done: Counter[int] = field(default_factory=Counter)
    handed_out: int = 0
    error: BaseException | None = None
    closed: bool = False

    def __post_init__(self) -> None:
        self.counts = Counter({self.protocol.idle: self.protocol.idle.count})
        serving = [self.protocol.serve(channel) for channel in self.protocol.channels]
        self.processes: list[Generator[Any, None, None]] = [self._main(), *serving]
        self.steps: list[Any] = [next(process, None) for process in self.processes]

    def _main(self) -> Generator[Any, None, None]:
        """What the library's Channels does: jobs and syncs as the script says, then the end."""
        try:
            for action in self.script:
                if action == "j":
                    yield from self.protocol.hand_out(self.handed_out)
                    self.handed_out += 1
                else:
                    yield from self.protocol.sync_main()
                    if sum(self.done.values()) != self.handed_out:
                        raise ViolationError(f"a sync came back with jobs undone: {self.done}")
        except JobFailedError as error:
            self.error = error
            # Whoever asks again is told again, and does not wait.
            for again in (self.protocol.hand_out(-1), self.protocol.sync_main()):
                try:
                    yield from again
                except JobFailedError:
                    continue
                raise ViolationError("an error was forgotten") from error
        yield from self.protocol.close()
        self.closed = True

    def enabled(self) -> list[int]:
        """Who can make a step."""
        return [
            number
            for number, step in enumerate(self.steps)
            if step is not None and (not isinstance(step, Wait) or self.counts[step.semaphore] > 0)
        ]

    def advance(self, number: int) -> None:
        """Perform one step of one process, up to its next."""
        step, process = self.steps[number], self.processes[number]
        if isinstance(step, Wait):
            self.counts[step.semaphore] -= 1
        elif isinstance(step, Post):
            self.counts[step.semaphore] += 1
        elif isinstance(step, Run):
            self.done[step.job] += 1
            if self.done[step.job] > 1:
                raise ViolationError(f"job {step.job} was done twice")
            if step.job in self.failing:
                self.steps[number] = _thrown(process, JobFailedError(step.job))
                return
        self.steps[number] = next(process, None)

    def state(self) -> Hashable:
        """Everything that decides what can happen from here on."""
        protocol = self.protocol
        shared = tuple((channel.pending_job, channel.job) for channel in protocol.channels)
        counts = tuple(sorted((sem.name, count) for sem, count in self.counts.items() if count))
        done = tuple(sorted(self.done))
        flags = (protocol.exiting, type(protocol.error), self.handed_out, type(self.error))
        return shared, counts, done, flags, tuple(map(_position, self.processes))


def _thrown(process: Generator[Any, None, None], error: BaseException) -> Any:
    try:
        return process.throw(error)
    except StopIteration:
        return None


def _position(process: Any) -> Hashable:
    """Where a generator stands, those it delegates to included, and what its variables hold."""
    places = []
    while process is not None and getattr(process, "gi_frame", None) is not None:
        frame = process.gi_frame
        held = tuple(sorted((name, _value(value)) for name, value in frame.f_locals.items()))
        places.append((frame.f_lasti, held))
        process = process.gi_yieldfrom
    return tuple(places)


def _value(value: Any) -> str:
    if isinstance(value, Channel):
        return f"channel {value.number}"
    return repr(value) if isinstance(value, int | str | type(None)) else type(value).__name__


def explore(
    channels: int,
    script: str,
    *,
    failing: Sequence[int] = (),
    protocol: type[Protocol[int]] = Protocol,
) -> int:
    """Go through every order of steps of a script (`j`: a job, `s`: a sync); the states seen.

    Raises ViolationError where a job is done twice or a sync leaves one undone, DeadlockError where
    somebody waits for ever, AssertionError where the end is not as it should be.
    """
    seen: set[Hashable] = set()
    stack: list[list[int]] = [[]]
    while stack:
        order = stack.pop()
        machine = Machine(protocol(channels), script, frozenset(failing))
        try:
            for number in order:
                machine.advance(number)
            # Where only one can go on there is nothing to choose.
            while len(enabled := machine.enabled()) == 1:
                order = [*order, enabled[0]]
                machine.advance(enabled[0])
        except ViolationError as violation:
            raise type(violation)(f"{violation}; order of steps: {order}") from violation
        state = machine.state()
        if state in seen:
            continue
        seen.add(state)
        if not enabled:
            _check_end(machine, order)
        stack += [[*order, number] for number in enabled]
    return len(seen)


def _check_end(machine: Machine, order: list[int]) -> None:
    waiting = [number for number, step in enumerate(machine.steps) if step is not None]
    if waiting:
        raise DeadlockError(f"processes {waiting} wait for ever; order of steps: {order}")
    assert machine.closed
    if machine.error is None and machine.script.endswith("s"):
        assert sorted(machine.done) == list(range(machine.script.count("j")))
        assert not machine.failing, "a failed job was not told"
