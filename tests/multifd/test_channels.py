"""The protocol on real threads: all jobs are done, errors are told, and nothing ever hangs."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.multifd.channels import Channels
from support.watchdog import TIME_LIMIT, ended

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
COUNTS = [1, 2, 3, 5]
each_count = pytest.mark.parametrize("count", COUNTS)


class BoomError(Exception):
    """What a job raises that is meant to fail."""


class OtherBoomError(BoomError):
    """The same, of another job."""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIME_LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)


def running() -> int:
    """Channels that are alive."""
    return sum(thread.name.startswith("channel ") for thread in threading.enumerate())


# -- jobs and syncs -------------------------------------------------------------------------------


@each_count
@pytest.mark.parametrize("seed", range(5))
def test_every_job_is_done_once_and_all_are_done_at_each_sync(count: int, seed: int) -> None:
    chance = random.Random(seed)
    script = "".join(chance.choices("jjjs", k=300)) + "s"
    delays = [chance.random() * 0.0005 for _ in script]
    done: list[int] = []

    def act(job: int) -> None:
        time.sleep(delays[job])
        done.append(job)

    def run() -> Channels[int]:
        handed_out = 0
        with Channels[int](count, act) as channels:
            for step in script:
                if step == "j":
                    channels.hand_out(handed_out)
                    handed_out += 1
                else:
                    channels.sync_main()
                    assert Counter(done) == Counter(range(handed_out))
        return channels

    channels = ended(run)
    assert channels.jobs == script.count("j")
    assert channels.syncs == script.count("s")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_as_many_jobs_run_at_once_as_there_are_channels(count: int) -> None:
    together = threading.Barrier(count, timeout=TIME_LIMIT / 2)

    def run() -> None:
        with Channels[int](count, lambda _: together.wait()) as channels:
            for job in range(3 * count):
                channels.hand_out(job)
            channels.sync_main()

    ended(run)
    assert not together.broken


@each_count
def test_main_waits_in_hand_out_while_every_channel_has_a_job(count: int) -> None:
    go_on = threading.Event()
    handed_out: list[int] = []

    def run() -> None:
        with Channels[int](count, lambda _: go_on.wait(TIME_LIMIT)) as channels:
            for job in range(count + 1):
                channels.hand_out(job)
                handed_out.append(job)
            channels.sync_main()

    main = threading.Thread(target=ended, args=(run,), daemon=True)
    main.start()
    wait_until(lambda: len(handed_out) == count)
    time.sleep(0.05)
    assert len(handed_out) == count, "there is no queue of jobs"
    go_on.set()
    main.join(TIME_LIMIT)
    assert len(handed_out) == count + 1


def test_slow_channel_keeps_nobody_else_from_working() -> None:
    others_done = threading.Event()
    done: list[int] = []

    def act(job: int) -> None:
        if job == 0:
            assert others_done.wait(TIME_LIMIT)
        done.append(job)
        if len(done) == 50:
            others_done.set()

    def run() -> None:
        with Channels[int](2, act) as channels:
            for job in range(51):
                channels.hand_out(job)
            channels.sync_main()

    ended(run)
    assert done == [*range(1, 51), 0]


def test_no_channel_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Channels[int](0, print)


# -- errors ---------------------------------------------------------------------------------------


ANY = [
    BoomError("x"), OSError(5, "Input/output error"), MemoryError(), KeyboardInterrupt(),
    SystemExit(3), AssertionError("x"), BaseException("x"), RecursionError(),
]  # fmt: skip


def failing(error: BaseException, job: int) -> Callable[[int], None]:
    def act(number: int) -> None:
        if number == job:
            raise error

    return act


@each_count
@pytest.mark.parametrize("error", ANY, ids=lambda error: type(error).__name__)
def test_whatever_a_channel_raises_is_raised_by_the_sync(count: int, error: BaseException) -> None:
    def run() -> None:
        with Channels[int](count, failing(error, 0)) as channels:
            channels.hand_out(0)
            channels.sync_main()
            pytest.fail("the error is lost")

    with pytest.raises(type(error)) as caught:
        ended(run)
    assert caught.value is error


@pytest.mark.parametrize("error", [StopIteration(), GeneratorExit()], ids=repr)
def test_exceptions_that_end_generators_are_told_as_what_they_are(error: BaseException) -> None:
    def run() -> None:
        with Channels[int](2, failing(error, 0)) as channels:
            channels.hand_out(0)
            channels.sync_main()

    with pytest.raises(RuntimeError, match=type(error).__name__):
        ended(run)


@each_count
def test_error_is_raised_by_the_next_hand_out(count: int) -> None:
    handed_out: list[int] = []

    def run() -> None:
        with Channels[int](count, failing(BoomError(), 3)) as channels:
            for job in range(4):
                channels.hand_out(job)
            wait_until(lambda: running() == count - 1)
            channels.hand_out(4)
            handed_out.append(4)

    with pytest.raises(BoomError):
        ended(run)
    assert handed_out == []


@pytest.mark.parametrize("count", [2, 3, 5])
def test_first_error_wins_and_is_told_as_often_as_one_asks(count: int) -> None:
    told: list[BaseException] = []

    def act(job: int) -> None:
        if job == 0:
            raise BoomError
        # The other channel has made its last post by then.
        wait_until(lambda: running() < count)
        raise OtherBoomError

    def run() -> None:
        with Channels[int](count, act) as channels:
            channels.hand_out(1)
            channels.hand_out(0)
            wait_until(lambda: running() == count - 2)
            for ask in (channels.sync_main, lambda: channels.hand_out(2), channels.sync_main):
                with pytest.raises(BoomError) as caught:
                    ask()
                told.append(caught.value)

    ended(run)
    assert [type(error) for error in told] == [BoomError] * 3


@each_count
def test_all_channels_may_fail(count: int) -> None:
    def run() -> None:
        def act(_: int) -> None:
            raise BoomError

        with Channels[int](count, act) as channels:
            for job in range(100):
                channels.hand_out(job)

    with pytest.raises(BoomError):
        ended(run)


def test_jobs_of_other_channels_end_before_the_error_is_out() -> None:
    done: list[str] = []
    begun = threading.Event()

    def act(job: int) -> None:
        if job == 0:
            begun.set()
            time.sleep(0.2)
            done.append("slow")
        else:
            assert begun.wait(TIME_LIMIT)
            raise BoomError

    def run() -> None:
        with Channels[int](2, act) as channels:
            channels.hand_out(0)
            channels.hand_out(1)
            channels.sync_main()

    with pytest.raises(BoomError):
        ended(run)
    assert done == ["slow"]


@each_count
def test_error_of_main_ends_the_channels_too(count: int) -> None:
    def run() -> None:
        with Channels[int](count, lambda _: time.sleep(0.01)) as channels:
            channels.hand_out(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ended(run)


def test_thread_that_cannot_be_started_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def limited(self: threading.Thread) -> None:
        if self.name == "channel 2":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)

    def run() -> None:
        with Channels[int](4, print):
            pytest.fail("one of the channels is missing")

    with pytest.raises(RuntimeError, match="can't start"):
        ended(run)


# -- signals --------------------------------------------------------------------------------------

# Jobs end when the parent says so, by closing stdin after the signal.
INTERRUPTED = """
import os, threading, time
from fixedram_fmt.multifd.channels import Channels
def act(job):
    begun.append(job)
    os.write(1, b"begun\\n")
    os.read(0, 1)
    time.sleep(0.2)
    done.append(job)
begun, done = [], []
try:
    with Channels(2, act) as channels:
        channels.hand_out(1)
        {wait}
except KeyboardInterrupt:
    print("interrupted", threading.active_count(), len(begun) - len(done))
"""


@pytest.mark.parametrize(
    ("wait", "jobs"),
    [("channels.sync_main()", 1), ("while True: channels.hand_out(2)", 2)],
    ids=["sync_main", "hand_out"],
)
def test_interrupt_while_main_waits_ends_it_after_the_jobs_at_hand(wait: str, jobs: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(wait=wait)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout
    try:
        begun = [process.stdout.readline() for _ in range(jobs)]
        process.send_signal(signal.SIGINT)
        *_, told = process.communicate(timeout=TIME_LIMIT)[0].splitlines()
    finally:
        process.kill()
        process.wait()
    assert begun == ["begun\n"] * jobs
    assert told == "interrupted 1 0", "one thread is left, no job half done"
    assert process.returncode == 0
