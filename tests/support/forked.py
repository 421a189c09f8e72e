"""The command in a fork of the tests' own process: everything that it imports is there already.

It has descriptors, streams, arguments, environment and signals of its own, as `python -m
fixedram_cli` has them; only the start of an interpreter, half a second, is saved.
"""

from __future__ import annotations

import io
import os
import selectors
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["run"]

_CRASHED = 70
_STEP = 1 << 16


def run(
    arguments: Sequence[str], stdin: bytes | None, environment: Mapping[str, str], seconds: float
) -> tuple[int, bytes, bytes]:
    """Exit code (minus the signal's number if one ended it), stdout and stderr, both pipes."""
    out, err = os.pipe(), os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads: those of the tests wait for other tests.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _child(arguments, stdin, environment, (out[1], err[1]))
    os.close(out[1])
    os.close(err[1])
    try:
        told = _read((out[0], err[0]), time.monotonic() + seconds)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(out[0])
        os.close(err[0])
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), *told


def _read(pipes: tuple[int, int], deadline: float) -> tuple[bytes, bytes]:
    """All that comes through both until nobody can write into them."""
    told: dict[int, bytearray] = {pipe: bytearray() for pipe in pipes}
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline - time.monotonic())
            if not ready:
                raise TimeoutError("the command does not end")
            for key, _ in ready:
                data = os.read(key.fd, _STEP)
                told[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
    return bytes(told[pipes[0]]), bytes(told[pipes[1]])


def _child(
    arguments: Sequence[str],
    stdin: bytes | None,
    environment: Mapping[str, str],
    outputs: tuple[int, int],
) -> NoReturn:
    code = _CRASHED
    try:
        # Coverage is not asked about what the command does (.ci/check_coverage.py).
        sys.settrace(None)
        os.environ.update(environment)
        sys.argv = ["fixedram", *arguments]
        _streams(stdin, outputs, environment.get("PYTHONIOENCODING", "utf-8"))
        tempfile.tempdir = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        code = _main()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _streams(stdin: bytes | None, outputs: tuple[int, int], encoding: str) -> None:
    if stdin is not None:
        os.dup2(_pipe_of(stdin), 0)
    for number, pipe in enumerate(outputs, start=1):
        os.dup2(pipe, number)
        os.close(pipe)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding=encoding)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding=encoding
    )
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def _pipe_of(data: bytes) -> int:
    """The reading end of a pipe through which data comes."""
    reader, writer = os.pipe()

    def feed() -> None:
        with suppress(BrokenPipeError), open(writer, "wb") as pipe:
            pipe.write(data)

    threading.Thread(target=feed, daemon=True).start()
    return reader


def _main() -> int:
    """What the interpreter does about the end of its main module."""
    from fixedram_cli.main import main

    try:
        main()
    except SystemExit as ended:
        code = ended.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    try:
        sys.stdout.flush()
    except OSError:
        return 120
    sys.stderr.flush()
    return int(code or 0)
