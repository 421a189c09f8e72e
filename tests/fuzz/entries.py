"""The commands as a campaign runs them: in this process, with what must hold for each."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sys
import time
import traceback
import zlib
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FixedRamError
from fuzz.forms import check_form
from fuzz.inside import INSIDE
from fuzz.troubles import changing, interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMMANDS", "ON_DOCUMENTS", "FuzzError", "Ran", "run"]

ROOT = Path(__file__).parent.parent.parent
#: Words of commands; {image} is the mutant, {other} its seed, {out} a path that is not there yet,
#: {file} the mutant without the name of a state in it.
COMMANDS = [
    line.split()
    for line in """
info {image}
info --json {image}
info --search {image}
dump --json {image}
dump --bytes --deep --all {image}
copy {image} -o {out}
copy {image} -o {out} --drop-stale --json
copy {image} -o {out} --align 64K --drop-devices
copy {image} -o {out} --rebase auto
copy {image} -o {out} --container none
copy {image} -o {out} --byte-order big-64
convert {image} -o {out}
convert {image} -o {out} --to stream
validate {image} --deep
validate {image} --json
validate {image} --output sarif --multifd
validate {image} --output junit --loader qemu-11.1
validate {image} --output github --like {other}
destination {image} --json
state {image}
state {image} --json
state {image} --flat --offsets
state {image} --summary
state {image} --format qemu
state {image} --desc-from {other} --json
read {image}
read {image} --json
read {image} --phys 0xffff0 32
read {image} --phys 0 64K --json
read {image} --block pc.ram 64
read {image} --virt 0xffffffff81000000 16 --explain
extract {image} -o {out}
extract {image} -o {out} --format physical
extract {image} -o {out} --format elf
extract {image} -o {out} --format lime
map {image}
map {image} --deep -o {out}.png
map {image} -o {out}.svg
report {image} -o {out}.html
load {image} --json
load {image} -o {out}
sync {image} --json
sync {image} --compare
sync {image} --loader fixed-ram-v4
convert {image} -o {out} --container none --json
state {image} */* --raw
state {image} ** --raw -o {out}
state {image} * --raw
state {image} --desc
destination {image} -o {out}.toml
validate {image} --output junit --deep
validate {image} --output github --deep
validate {image} --output text -o {out}
read {image} --virt 0 64 --explain
read {image} --virt 0xffffffc000080000 32 --json
read {image} --phys 0x40000000 4K -o {out}
extract {image} -o {out} --format elf --json
@mount {image}
@mount {image}
@layer {image}
@layer {image}
@virtual {image}
@virtual {image}
rescue {image} -o {out} --json
rescue {image} -o {out} --all-pages
rescue {image} --plan --map {out}
extract {image} -o {out} --without-bitmaps
diff {image} {other}
diff {image} {other} --json
digest {image} --json
digest {image} --blocks
snapshots {file}
snapshots {file} --json
info {file}
dump {file} --json --container
dump {file} --container --bytes --all
""".strip().splitlines()
]
#: With a document that is mutated, by what it is.
ON_DOCUMENTS = {
    "spec": [
        ["synth", "{document}", "-o", "{out}"],
        ["synth", "{document}", "-o", "{out}", "--plan"],
    ],
    "destination": [["validate", "{image}", "--destination", "{document}", "--json"]],
    "desc": [["state", "{image}", "--desc-from", "{document}", "--json"]],
    "baseline": [["validate", "{image}", "--baseline", "{document}", "--json"]],
}
#: CPU seconds that one run may take, and MiB it may add to what the process had: of any input, and
#: for each byte of it (image, second image, document).
SECONDS, SECONDS_OF_BYTE = 5.0, 1e-5
MEBIBYTES, BYTES_OF_BYTE = 100, 100
MEBIBYTES_OF_ANY = 150
_IMAGES = ("image", "other")
#: nb_snapshots in the header of a qcow2 image.
_SNAPSHOTS = slice(60, 64)


class FuzzError(Exception):
    """What must hold did not."""


class _TooSlow(BaseException):
    """Not an Exception: nothing may take it for an error of its own."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: exit code, what it said, CPU seconds, and KiB at its peak beyond the start."""

    code: int
    output: bytes
    errors: bytes
    seconds: float
    kib: int


def run(words: list[str], places: dict[str, str], trouble: tuple[str, int] | None = None) -> Ran:
    """Run a command; FuzzError when it does what no input may make it do."""
    out = Path(places["out"])
    folder = out.parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    named = {"file": places["image"], **{one: _location(places[one]) for one in _IMAGES}}
    arguments = [word.format(**{**places, **named}) for word in words]
    if trouble and trouble[0] == "signal":
        return _run_interrupted(arguments, trouble[1], folder)
    with changing(Path(places["image"]), trouble[1]) if trouble else nullcontext():
        done = _run(arguments)
    _check(words, done, folder)
    _check_cost(done, places)
    if trouble is None:
        _check_meaning(words, done, places)
        _check_forms(words, done, folder)
    return done


def _location(path: str) -> str:
    """A path with the name of a state, where the file is a qcow2 image with snapshots."""
    with Path(path).open("rb") as file:
        head = file.read(_SNAPSHOTS.stop)
    snapshots = head.startswith(b"QFI") and any(head[_SNAPSHOTS])
    return f"{path}#{1 + zlib.crc32(head) % 2}" if snapshots else path


def _run_interrupted(arguments: list[str], step: int, folder: Path) -> Ran:
    log = folder.parent / "log"
    if wrong := interrupted(arguments, step, log):
        raise FuzzError(wrong)
    left = sorted(path.name for path in folder.rglob("*") if path.name.endswith(".tmp"))
    if left:
        raise FuzzError(f"left after a signal: {left[:3]}")
    return Ran(0, b"", b"", 0.0, 0)


def _run(arguments: list[str]) -> Ran:
    output, errors = io.BytesIO(), io.BytesIO()
    before = _peak(reset=True)
    begun = time.process_time()
    with _streams(output, errors), _limit():
        try:
            code = _called(arguments)
        except _TooSlow:
            raise FuzzError(f"still running after {2 * SECONDS:.0f} s of CPU") from None
    seconds = time.process_time() - begun
    return Ran(code, output.getvalue(), errors.getvalue(), seconds, _peak(reset=False) - before)


def _called(arguments: list[str]) -> int:
    from fixedram_cli.app import application

    try:
        if arguments[0] in INSIDE:
            INSIDE[arguments[0]](arguments[1])
            return 0
        application()(arguments, prog_name="fixedram")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except FixedRamError as error:
        print(str(error).encode("unicode_escape").decode(), file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno is None:
            raise FuzzError(f"{type(error).__name__}: {error}") from error
        return 2
    except Exception as error:
        raise FuzzError(f"{type(error).__name__}: {str(error)[:100]} {_where(error)}") from error
    return 0


def _where(error: BaseException) -> str:
    """The innermost lines of the package that the error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f"{Path(one.filename).name}:{one.lineno}" for one in frames if "fixedram" in one.filename
    ]
    return " < ".join(reversed(ours[-3:]))


@contextmanager
def _streams(output: io.BytesIO, errors: io.BytesIO) -> Iterator[None]:
    kept = sys.stdout, sys.stderr
    sys.stdout = io.TextIOWrapper(output, "utf-8", "backslashreplace", write_through=True)
    sys.stderr = io.TextIOWrapper(errors, "utf-8", "backslashreplace", write_through=True)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            stream.detach()
        sys.stdout, sys.stderr = kept


@contextmanager
def _limit() -> Iterator[None]:
    def ring(_number: int, _frame: object) -> None:
        raise _TooSlow

    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _peak(*, reset: bool) -> int:
    """Peak of resident memory in KiB, since it was last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


# -- what must hold -------------------------------------------------------------------------------


def _check(words: list[str], done: Ran, folder: Path) -> None:
    if done.code not in {0, 1, 2}:
        raise FuzzError(f"exit code {done.code}")
    for stream in (done.output, done.errors):
        text = stream.decode("utf-8", "backslashreplace")
        bad = next((char for char in text if not char.isprintable() and char != "\n"), None)
        raw = "--raw" in words and stream is done.output
        if bad is not None and not raw:
            raise FuzzError(f"{bad!r} in the output")
    if b"Traceback" in done.errors:
        raise FuzzError("a traceback")
    if done.code == 2:
        # A report for programs has the error in it.
        if not done.errors.strip() and not done.output.strip():
            raise FuzzError("exit code 2 without a word")
        left = sorted(path.name for path in folder.rglob("*"))
        # A report has in it what could not be opened, and is written.
        if left and words[0] != "validate":
            raise FuzzError(f"left after an error: {left[:3]}")
    outside = [path for path in folder.rglob("*") if path.is_symlink()]
    if outside:
        raise FuzzError(f"a link: {outside[0].name}")


def _check_cost(done: Ran, places: dict[str, str]) -> None:
    """Memory and CPU by the length of what was given."""
    given = (Path(places[name]) for name in ("image", "other", "document"))
    length = sum(path.stat().st_size for path in given if path.exists())
    if done.kib > min(MEBIBYTES_OF_ANY << 10, (MEBIBYTES << 10) + BYTES_OF_BYTE * length // 1024):
        raise FuzzError(f"{done.kib >> 10} MiB for {length} bytes")
    if done.seconds > SECONDS + SECONDS_OF_BYTE * length:
        raise FuzzError(f"{done.seconds:.1f} s of CPU for {length} bytes")


def _check_forms(words: list[str], done: Ran, folder: Path) -> None:
    """Outputs that other programs read, as they read them."""
    if done.code == 2:
        return
    form = next((word for word in words if word in ("junit", "github")), "")
    if form and (wrong := check_form(form, done.output)):
        raise FuzzError(wrong)
    for path in folder.rglob("*"):
        form = path.suffix.removeprefix(".")
        if form in ("html", "svg", "toml") and (wrong := check_form(form, path.read_bytes())):
            raise FuzzError(wrong)


def _check_meaning(words: list[str], done: Ran, places: dict[str, str]) -> None:
    if "--json" in words and done.code != 2 and not _may_be_silent(words, done):
        _check_json(words[0], done.output)
    if words[:1] == ["dump"] and "--json" in words and done.code == 0:
        _check_tiling(json.loads(done.output), places)
    whole = words == ["copy", "{image}", "-o", "{out}"]
    if whole and done.code == 0 and not _is_same(places):
        raise FuzzError("the copy is not the same")
    if words == ["load", "{image}", "--json"] and done.code == 0:
        _check_load(json.loads(done.output), places)


def _may_be_silent(words: list[str], done: Ran) -> bool:
    """A load that a loader would refuse is told in words alone."""
    return words[0] == "load" and done.code == 1 and not done.output


def _check_json(command: str, output: bytes) -> None:
    import jsonschema  # type: ignore[import-untyped]

    from support.schemas import validator

    def constant(name: str) -> None:
        raise FuzzError(f"{name} in JSON")

    try:
        document = json.loads(output, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise FuzzError(f"no JSON: {output[:40]!r}") from error
    try:
        validator(command).validate(document)
    except jsonschema.ValidationError as error:
        raise FuzzError(f"JSON: {error.json_path}: {error.message[:100]}") from error


def _check_tiling(document: Any, places: dict[str, str]) -> None:
    """Leaves lie one after the other; a file that is not packed ends with the last."""
    at = None
    for record in document["records"]:
        if at is not None and record["offset"] != at:
            raise FuzzError(f"dump: a gap or overlap at {at:#x}")
        at = record["offset"] + record["length"]
    raw = Path(places["image"]).read_bytes()
    if at is not None and at != len(raw) and raw[:4] in (b"QEVM", b"Libv"):
        raise FuzzError(f"dump ends at {at:#x}, the file at {len(raw):#x}")


def _is_same(places: dict[str, str]) -> bool:
    raw, copy = Path(places["image"]).read_bytes(), Path(places["out"]).read_bytes()
    packed = raw[:4] not in (b"QEVM", b"Libv")
    return copy == raw or packed


def _check_load(document: Any, places: dict[str, str]) -> None:
    """What the channels loaded is what is extracted block by block."""
    import hashlib

    out = Path(places["out"])
    names = [block["name"] for block in document["blocks"]]
    if len(set(names)) != len(names) or sum(b["length"] for b in document["blocks"]) > 1 << 26:
        return
    done = _run(["extract", places["image"], "-o", str(out), "--json"])
    if done.code != 0:
        return
    files = {one["block"]: one["path"] for one in json.loads(done.output)["files"] if one["block"]}
    for block in document["blocks"]:
        if block["name"] in files:
            path = Path(files[block["name"]])
            if path.stat().st_size != block["length"]:
                raise FuzzError(f"load and extract differ in the length of {block['name']!r}")
            if hashlib.sha256(path.read_bytes()).hexdigest() != block["sha256"]:
                raise FuzzError(f"load and extract differ in {block['name']!r}")
