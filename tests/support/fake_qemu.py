"""A program that looks like QEMU from outside and misbehaves as its first argument says.

Written into a file by `fake`, run by its own interpreter: it speaks QMP on the descriptor of
`-chardev socket,id=...,fd=N`.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["STAGES", "fake"]

#: Where it misbehaves: before the greeting, or when it gets a command.
STAGES = (
    "start",
    "qmp_capabilities",
    "query-version",
    "migrate-set-capabilities",
    "migrate-incoming",
    "event",
    "query-status",
    "pmemsave",
)

_PROGRAM = """#!{python}
import json, os, re, signal, socket, sys, time

STAGE, HOW = {stage!r}, {how!r}
WORDS = sys.argv[1:]


def misbehave():
    print("qemu-system-fake: at", STAGE, file=sys.stderr, flush=True)
    if HOW == "dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    if HOW == "big":
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGXFSZ)
    if HOW == "exits":
        os._exit(3)
    if HOW == "closes":
        connection.shutdown(socket.SHUT_RDWR)
    if HOW == "garbage":
        connection.sendall(b"\\xff\\x00 no JSON \\r\\n" * 100)
    if HOW == "floods":
        while True:
            os.write(2, b"x" * 65536)
    while True:
        time.sleep(3600)


if HOW == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        time.sleep(3600)
if {pid!r}:
    open({pid!r}, "a").write(str(os.getpid()) + "\\n")

found = [re.search(r"^socket,id=[\\w-]+,fd=(\\d+)$", word) for word in WORDS]
connection = socket.socket(fileno=next(int(one[1]) for one in found if one))
if STAGE == "start":
    misbehave()


def send(message):
    connection.sendall(json.dumps(message).encode() + b"\\r\\n")


def event(status):
    stamp = {{"seconds": 0, "microseconds": 0}}
    send({{"event": "MIGRATION", "data": {{"status": status}}, "timestamp": stamp}})


def commands():
    # They come without line ends.
    text = ""
    while data := connection.recv(65536):
        text += data.decode()
        while text.strip():
            try:
                asked, end = json.JSONDecoder().raw_decode(text.lstrip())
            except ValueError:
                break
            text = text.lstrip()[end:]
            yield asked


version = {{"qemu": {{"micro": 3, "minor": 2, "major": 1}}, "package": ""}}
send({{"QMP": {{"version": version, "capabilities": []}}}})
for asked in commands():
    name, tag = asked["execute"], {{key: asked[key] for key in asked if key == "id"}}
    if name == STAGE and HOW == "refuses":
        send({{"error": {{"class": "GenericError", "desc": "no room"}}, **tag}})
        continue
    if name == STAGE:
        misbehave()
    answer = {{}}
    if name == "query-version":
        answer = version
    if name == "query-status":
        answer = {{"running": STAGE == "running", "status": "paused"}}
    if name == "human-monitor-command":
        answer = ""
    if name == "query-migrate":
        answer = {{"status": "failed", "error-desc": "load of migration failed: words"}}
    if name == "pmemsave":
        with open(asked["arguments"]["filename"], "wb") as file:
            file.truncate(asked["arguments"]["size"])
    send({{"return": answer, **tag}})
    if name == "migrate-incoming":
        if STAGE == "event":
            misbehave()
        event("active")
        event("failed" if STAGE == "failed" else "completed")
"""


def fake(folder: Path, stage: str, how: str) -> Path:
    """A program that misbehaves at a stage; its process id stands in the file `pid` beside it.

    how is `dies` (SIGSEGV), `exits`, `closes` (the monitor), `garbage`, `floods` (its standard
    error), `refuses` (the command), `big` (SIGXFSZ), `hangs`, or `deaf` (hangs, ignores SIGTERM,
    and has a child).
    """
    path = folder / "qemu-fake"
    text = _PROGRAM.format(python=sys.executable, stage=stage, how=how, pid=str(folder / "pid"))
    path.write_text(text)
    path.chmod(0o755)
    return path
