"""Troubles while a command runs: a signal at a random time, a file that changes meanwhile."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SIGNALS", "changing", "interrupted"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
_SOON = 0.15
_PATIENCE = 20.0


def interrupted(arguments: list[str], step: int, log: Path) -> str:
    """Run the command in a child that gets a signal; what is wrong with how it ended, or ""."""
    chance = random.Random(step)
    number = chance.choice(SIGNALS)
    ready, begun = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(arguments, log, begun)
    os.close(begun)
    os.read(ready, 1)
    os.close(ready)
    time.sleep(chance.random() * _SOON)
    os.kill(pid, number)
    status = _waited(pid)
    if status is None:
        return f"no end after {number.name}"
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1, 2, 130, 143, -number):
        return f"{number.name} ended it with {code}"
    if b"Traceback" in log.read_bytes():
        return f"a traceback after {number.name}"
    return ""


def _child(arguments: list[str], log: Path, begun: int) -> None:
    """In the child: the whole command, as a shell starts it."""
    try:
        from fixedram_cli.main import main
        from fixedram_cli.signals import watch

        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = ["fixedram", *arguments]
        signal.setitimer(signal.ITIMER_PROF, 0)
        watch()
        os.write(begun, b"x")
        main()
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else 1)
    except BaseException as error:
        os._exit(getattr(error, "number", 99) and 143)
    os._exit(98)


def _waited(pid: int) -> int | None:
    """The status of the child; None, and its end, where it takes too long."""
    stop = time.monotonic() + _PATIENCE
    while time.monotonic() < stop:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


@contextmanager
def changing(path: Path, step: int) -> Iterator[None]:
    """While the block runs a child overwrites, cuts and lengthens the file again and again."""
    pid = os.fork()
    if pid == 0:
        _change(path, random.Random(step))
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _change(path: Path, chance: random.Random) -> None:
    raw = path.read_bytes()
    stop = time.monotonic() + _PATIENCE
    fd = os.open(path, os.O_RDWR)
    while time.monotonic() < stop:
        offset = chance.randrange(len(raw) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            os.ftruncate(fd, offset)
        elif kind == 1:
            os.pwrite(fd, chance.randbytes(chance.choice((1, 4, 64, 4096))), offset)
        else:
            os.pwrite(fd, raw, 0)
        time.sleep(chance.choice((0, 0.0005, 0.005)))
    os._exit(0)
