"""The protocol of the channels, step by step, without a thread in it.

What main and a channel do is written down once, as generators that yield what they wait for, post
or run.  channels.py performs the steps with real threads and semaphores; the tests perform the same
steps in every order there is.

Upstream: migration/multifd.c multifd_recv_thread(), multifd_recv(), multifd_recv_sync_main(), in
the re-entrant form: per channel `sem` and `pending_job`, one `sem_sync` for all.  Two things are
added.  `idle` lets main sleep until a channel is free, where QEMU spins.  And a channel that fails
makes a last post: it records its error and posts what main may be waiting for, once; so nobody
waits for the dead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Channel", "Post", "Protocol", "Run", "Semaphore", "Step", "Wait"]

J = TypeVar("J")


class Semaphore:
    """A name for a counting semaphore; who performs the steps gives it a count."""

    __slots__ = ("count", "name")

    def __init__(self, name: str, count: int = 0) -> None:
        self.name = name
        #: What it starts with.
        self.count = count


@dataclass(frozen=True, slots=True)
class Wait:
    """qemu_sem_wait(): go on when the count is above zero, and take one off."""

    semaphore: Semaphore


@dataclass(frozen=True, slots=True)
class Post:
    """qemu_sem_post(): add one."""

    semaphore: Semaphore


@dataclass(frozen=True, slots=True)
class Run(Generic[J]):
    """Do a job; what it raises is raised where the step was yielded."""

    job: J


Step = Wait | Post | Run[J]


@dataclass(eq=False, slots=True)
class Channel(Generic[J]):
    """One channel, as MultiFDRecvParams: main sets job and pending_job, the channel clears them."""

    number: int
    sem: Semaphore = field(init=False)
    pending_job: bool = False
    job: J | None = None

    def __post_init__(self) -> None:
        self.sem = Semaphore(f"sem[{self.number}]")


class Protocol(Generic[J]):
    """Shared state of main and its channels, and what each of them does.

    Only main calls hand_out(), sync_main() and close(); each channel performs serve() once.
    """

    def __init__(self, channels: int) -> None:
        self.channels: list[Channel[J]] = [Channel(number) for number in range(channels)]
        self.sem_sync = Semaphore("sem_sync")
        self.idle = Semaphore("idle", channels)
        self.error: BaseException | None = None
        self.exiting = False

    def serve(self, channel: Channel[J]) -> Generator[Step[J], None, None]:
        """A channel's life: a job or a sync for each post of its sem, until it is told to end.

        A channel always finishes its job before it can see a sync.
        """
        try:
            while True:
                yield Wait(channel.sem)
                if self.exiting:
                    return
                if not channel.pending_job:
                    yield Post(self.sem_sync)
                    continue
                job = channel.job
                assert job is not None
                yield Run(job)
                channel.job = None
                channel.pending_job = False
                yield Post(self.idle)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = self.error or error
            yield Post(self.idle)
            yield Post(self.sem_sync)

    def hand_out(self, job: J) -> Generator[Step[J], None, None]:
        """Give a job to the first idle channel; raises the error of a channel that failed."""
        # Asked again after an error, main would wait for a last post that it has had.
        self._raise_error()
        yield Wait(self.idle)
        self._raise_error()
        channel = next(channel for channel in self.channels if not channel.pending_job)
        channel.job = job
        channel.pending_job = True
        yield Post(channel.sem)

    def sync_main(self) -> Generator[Step[J], None, None]:
        """Wait until every job that was handed out is done; raises a channel's error.

        Kicks every channel without a job pending; each answers when it has nothing else to do.
        May be done again at any time, with or without jobs in between.
        """
        self._raise_error()
        for channel in self.channels:
            yield Post(channel.sem)
        for _ in self.channels:
            yield Wait(self.sem_sync)
            self._raise_error()

    def close(self) -> Generator[Step[J], None, None]:
        """Tell every channel to end; jobs that nobody has begun stay undone."""
        self.exiting = True
        for channel in self.channels:
            yield Post(channel.sem)

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error
