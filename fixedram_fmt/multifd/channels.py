"""The protocol with real threads: jobs are done at the same time, the GIL is theirs to give up."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from fixedram_fmt.io.closing import Closing
from fixedram_fmt.multifd.protocol import Post, Protocol, Run, Semaphore, Step, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Self

__all__ = ["Channels"]

J = TypeVar("J")


class Channels(Closing, Generic[J]):
    """Threads that do jobs; a context manager, which leaves no thread running.

    act does one job, in the thread of a channel, and may raise: that is raised by the next
    hand_out() or sync_main().  Jobs that were handed out and never synced for are abandoned when
    the context ends.
    """

    def __init__(self, count: int, act: Callable[[J], object]) -> None:
        if count < 1:
            raise ValueError("at least one channel is needed")
        self._act = act
        self._protocol: Protocol[J] = Protocol(count)
        # A queue of nothings is the semaphore that CPython waits for without a Python frame.
        self._posts: dict[Semaphore, SimpleQueue[None]] = {}
        for semaphore in (
            self._protocol.idle,
            self._protocol.sem_sync,
            *(channel.sem for channel in self._protocol.channels),
        ):
            self._posts[semaphore] = SimpleQueue()
            for _ in range(semaphore.count):
                self._posts[semaphore].put(None)
        self._threads = [
            threading.Thread(
                target=self._perform,
                args=(self._protocol.serve(channel),),
                name=f"channel {channel.number}",
                daemon=True,
            )
            for channel in self._protocol.channels
        ]
        self.jobs = 0
        self.syncs = 0

    def __enter__(self) -> Self:
        started: list[threading.Thread] = []
        try:
            for thread in self._threads:
                thread.start()
                started.append(thread)
        except BaseException:
            self._threads = started
            self.close()
            raise
        return self

    def hand_out(self, job: J) -> None:
        """Give job to the first idle channel, when there is one; raises a channel's error."""
        self._perform(self._protocol.hand_out(job))
        self.jobs += 1

    def sync_main(self) -> None:
        """Wait until all jobs are done; raises a channel's error."""
        self._perform(self._protocol.sync_main())
        self.syncs += 1

    def close(self) -> None:
        """End all threads, after the jobs they are at."""
        self._perform(self._protocol.close())
        for thread in self._threads:
            thread.join()

    def _perform(self, process: Generator[Step[J], None, None]) -> None:
        """Do the steps of one side of the protocol, one after the other."""
        posts = self._posts
        step = next(process, None)
        while step is not None:
            if isinstance(step, Run):
                try:
                    self._act(step.job)
                except BaseException as error:
                    # GeneratorExit would end the channel without its last post.
                    told = RuntimeError(repr(error)) if isinstance(error, GeneratorExit) else error
                    step = process.throw(told)
                    continue
            elif isinstance(step, Wait):
                posts[step.semaphore].get()
            elif isinstance(step, Post):
                posts[step.semaphore].put(None)
            step = next(process, None)
