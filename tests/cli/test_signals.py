"""Signals that come when a command has ended, but not yet its process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_LATE = """
import atexit, os, sys
atexit.register(os.kill, os.getpid(), {number})
from fixedram_cli.main import main
sys.argv = ["fixedram", {words}]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", ['"--version"', '"rules", "L03"'])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_end_gives_no_traceback(number: signal.Signals, words: str) -> None:
    program = _LATE.format(number=int(number), words=words)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -number
    assert done.stderr == b""
    assert done.stdout != b""
