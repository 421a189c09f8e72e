"""Entry point: one line per error on stderr, documented exit codes, never a traceback unasked.

0: fine.  1: the image has findings, images differ, a load would fail.  2: could not do it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from fixedram_cli.signals import Ended, end, let_go, watch
from fixedram_fmt.errors import FixedRamError

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["main"]

_COULD_NOT = 2
#: How /dev/null stands in for what is closed: nothing to read, and no place to write results to.
_STREAMS = {"stdin": os.O_RDONLY, "stdout": os.O_RDONLY, "stderr": os.O_WRONLY}


def main() -> NoReturn:
    """Run the command line of this process."""
    _open_standard_streams()
    watch()
    try:
        try:
            _run(sys.argv[1:])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _seen_enough()
    except SystemExit as error:
        # click and rich may meet the broken pipe before we do: they exit with 1.
        if isinstance(error.__context__, BrokenPipeError):
            _seen_enough()
        let_go()
        raise
    except Ended as ended:
        end(ended.number)
    except Exception as error:
        _fail(error)
    let_go()
    sys.exit(0)


def _run(words: list[str]) -> None:
    if words == ["--version"]:
        # Answered before anything is imported: scripts ask for it often.
        from fixedram_fmt import __version__

        print(f"fixedram {__version__}")
        return
    from fixedram_cli.app import application

    application()(prog_name="fixedram")


def _open_standard_streams() -> None:
    """Streams that can be written to; where the caller closed stdout, writing is an error."""
    for number, (name, flags) in enumerate(_STREAMS.items()):
        if getattr(sys, name) is None:
            # The lowest that is free: those below are open by now.
            os.open(os.devnull, flags)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)


def _seen_enough() -> NoReturn:
    """Whoever read us has.  The interpreter flushes stdout once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(0)


def _never_fail_to_encode(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")


def _fail(error: Exception) -> NoReturn:
    from fixedram_cli.app import settings
    from fixedram_cli.render.terminal import visible

    if settings.traceback:
        raise error
    if isinstance(error, FixedRamError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    else:
        text = (
            f"internal error, please report it: {type(error).__name__}: {error}"
            " (run fixedram --traceback ... for details)"
        )
    try:
        print(f"fixedram: error: {visible(text)}", file=sys.stderr)
        # What is left in stdout's buffer cannot be written either (a full disk, say).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
    sys.exit(_COULD_NOT)
