"""The protocol in every order of steps: no deadlock, no lost wake-up, no job undone at a sync."""

from __future__ import annotations

from collections.abc import Generator
from itertools import combinations
from typing import Any

import pytest

from fixedram_fmt.multifd.protocol import Channel, Post, Protocol, Run, Wait
from support.explore import DeadlockError, ViolationError, explore


def scripts(jobs: int, syncs: int) -> list[str]:
    """All orders of so many jobs and syncs that end with a sync."""
    found = []
    for places in combinations(range(jobs + syncs - 1), jobs):
        found.append("".join("j" if at in places else "s" for at in range(jobs + syncs - 1)) + "s")
    return found


ALL = [
    (channels, script)
    for channels in (1, 2, 3)
    for jobs in range(4)
    for syncs in range(1, 4)
    for script in scripts(jobs, syncs)
]


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "script"), ALL)
def test_every_order_of_steps_ends_well(channels: int, script: str) -> None:
    assert explore(channels, script) > 0


@pytest.mark.slow
@pytest.mark.parametrize("failing", [[0], [1], [2], [0, 1], [0, 1, 2]])
@pytest.mark.parametrize(
    ("channels", "script"),
    [(1, "jjjsss"), (2, "jjjs"), (2, "jsjsjs"), (2, "jjjsss"), (3, "jjjs"), (3, "jjjss")],
)
def test_channel_that_fails_is_told_and_nobody_waits_for_it(
    channels: int, script: str, failing: list[int]
) -> None:
    assert explore(channels, script, failing=failing) > 0


# -- the explorer itself: designs that are wrong must be found out --------------------------------


class OneShot(Protocol[int]):
    """Review version 4: a channel that wakes without a job answers, and quits."""

    def serve(self, channel: Channel[int]) -> Generator[Any, None, None]:
        while True:
            yield Wait(channel.sem)
            if not channel.pending_job:
                break
            assert channel.job is not None
            yield Run(channel.job)
            channel.pending_job = False
            yield Post(self.idle)
        yield Post(self.sem_sync)


class NoLastWill(Protocol[int]):
    """The flaw the discussion names: a channel that dies never posts."""

    def serve(self, channel: Channel[int]) -> Generator[Any, None, None]:
        while True:
            yield Wait(channel.sem)
            if self.exiting:
                return
            if not channel.pending_job:
                yield Post(self.sem_sync)
                continue
            assert channel.job is not None
            try:
                yield Run(channel.job)
            except Exception as error:
                self.error = error
                return
            channel.pending_job = False
            yield Post(self.idle)


class AnswersTooEarly(Protocol[int]):
    """A channel that forgets its job before it has done it."""

    def serve(self, channel: Channel[int]) -> Generator[Any, None, None]:
        while True:
            yield Wait(channel.sem)
            if self.exiting:
                return
            if not channel.pending_job:
                yield Post(self.sem_sync)
                continue
            job = channel.job
            assert job is not None
            channel.pending_job = False
            yield Post(self.sem_sync)
            yield Run(job)
            yield Post(self.idle)


def test_one_shot_design_syncs_once_and_hangs_at_the_second() -> None:
    assert explore(2, "jjs", protocol=OneShot) > 0
    with pytest.raises(DeadlockError):
        explore(2, "jsjs", protocol=OneShot)
    with pytest.raises(DeadlockError):
        explore(1, "ss", protocol=OneShot)


def test_dying_channel_without_a_last_will_hangs_main() -> None:
    assert explore(2, "jjs", protocol=NoLastWill) > 0
    with pytest.raises(DeadlockError):
        explore(2, "jjs", failing=[0], protocol=NoLastWill)


def test_answer_before_the_job_is_found_out() -> None:
    with pytest.raises(ViolationError):
        explore(2, "js", protocol=AnswersTooEarly)
