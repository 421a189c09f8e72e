"""Fuzz validate: opening, findings, verdicts and reports of whatever bytes there are.

    python tests/fuzz/fuzz_validate.py [-max_total_time=300 and other options of libFuzzer]
    python tests/fuzz/fuzz_validate.py --plain SECONDS [SEED]

The first needs atheris (pip install atheris) and is led by coverage; the second needs nothing and
splices pieces of the samples at random.  Both begin with small samples and every fault of `synth`.
"""

from __future__ import annotations

import io
import json
import lzma
import random
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "samples"
#: Room for the stream of a small guest; what is longer mutates mostly in its memory.
_SEED_CEILING = 1 << 16
#: libFuzzer's limits, unless the command line has its own: bytes, seconds for one input, MiB.
_DEFAULTS = {
    "-max_len": _SEED_CEILING, "-timeout": 20, "-rss_limit_mb": 2048, "-print_final_stats": 1,
}  # fmt: skip
#: A finding of one rule is told at most so often (fixedram_fmt.validate.validator).
_FINDINGS_CEILING = 100

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validate import Destination, Report


def one_input(raw: bytes) -> None:
    """Everything `fixedram validate` does with a file; raises where it must not."""
    from fixedram_fmt.container import locate_stream
    from fixedram_fmt.errors import FormatError, UnsupportedError
    from fixedram_fmt.image import Image
    from fixedram_fmt.source import Source
    from fixedram_fmt.validate import Destination, unopened, validate

    _show(raw)
    try:
        inner, container = locate_stream(Source.from_buffer(raw))
    except UnsupportedError:
        return
    except FormatError as error:
        _judge(unopened(error))
        return
    try:
        with Image(inner, container) as image:
            fitting = Destination.of_image(image)
            for deep, destination in ((False, None), (True, fitting), (False, _other())):
                _judge(validate(image, destination, deep=deep))
    except FormatError as error:
        _judge(unopened(error))


def _show(raw: bytes) -> None:
    """The report as text, which must be safe to print."""
    from rich.console import Console

    from fixedram_cli.render.findings import print_report
    from fixedram_fmt.validate.report import Question, ask

    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        report = ask(file.name, Question("qemu-10.0", deep=True))
    json.dumps(report.as_dict())
    held = io.StringIO()
    print_report(Console(file=held, markup=False, emoji=False, highlight=False), report)
    assert all(char == "\n" or char.isprintable() for char in held.getvalue())


def _other() -> Destination:
    """A VM that fits nothing."""
    from fixedram_fmt.validate import Destination

    return Destination(
        machine="none", capabilities=[], target_page_size=8192,
        blocks={"pc.ram": 4096, "more": "1M"}, sections={"timer": 0, "ram": 4, "more": 1},
        instances={"timer": [7]},
    )  # fmt: skip


def _judge(report: Report) -> None:
    """Verdicts of all loaders, and what is shown of the findings."""
    from collections import Counter

    from fixedram_fmt.loaders import LOADERS

    list(report.verdicts())
    for loader in LOADERS.values():
        for multifd in (False, True):
            for property_on in (False, True):
                verdict = report.verdict(loader, multifd=multifd, property_on=property_on)
                judged = report.judged_by(loader, multifd=multifd, property_on=property_on)
                assert (verdict.decided_by is None) == (verdict.outcome == "loads")
        json.dumps([finding.as_dict() for finding in judged])
    told = Counter(finding.rule.id for finding in report.findings)
    assert max(told.values(), default=0) <= _FINDINGS_CEILING
    assert all(told[rule_id] == _FINDINGS_CEILING for rule_id in report.unlisted)


# -- what to begin with ---------------------------------------------------------------------------


def seeds() -> Iterator[tuple[str, bytes]]:
    """Names and bytes: samples that are small when they are unpacked, and broken images."""
    from fixedram_fmt.build.faults import catalogue
    from fixedram_fmt.build.output import BufferOutput
    from fixedram_fmt.build.spec import spec_from
    from fixedram_fmt.build.synth import write_image

    for path in sorted(SAMPLES.glob("*.xz")):
        with suppress(EOFError), lzma.open(path) as file:
            head = file.read(_SEED_CEILING)
        # Of a larger one its beginning: configuration, list of blocks, and a header or two.
        yield path.name, head if len(head) < _SEED_CEILING else head[:4096]
    blocks = [
        {"name": "pc.ram", "size": 4096, "pattern": "counter", "density": 0.3},
        {"name": "mem1", "size": 256, "pattern": "text"},
    ]
    sizes = {"page_size": 256, "align": 256, "target_page_bits": True}
    devices = [{"name": "timer", "data": "00" * 24}, {"name": "cpu", "data": "7e" * 40}]
    specs = {
        "plain": {},
        "uuid": {"target_page_bits": False, "uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f"},
        "review": {"dialect": "fixed-ram-v4", "multifd": True},
        "shared": {"capabilities": ["x-ignore-shared"]},
        "big": {"byte_order": "big"},
        "libvirt": {"container": {"kind": "libvirt"}},
        "live": {"rounds": 3, "vmdesc": False},
    }
    for name, more in specs.items():
        spec = spec_from({"blocks": blocks, "devices": devices, **sizes, **more})
        faults = [None, *catalogue().values()] if name == "plain" else [None]
        for fault in faults:
            output = BufferOutput()
            write_image(spec, output, [fault] if fault else [])
            if len(output.data) <= _SEED_CEILING:
                yield f"{name}-{fault.name if fault else 'sound'}", bytes(output.data)


# -- two ways to run it ---------------------------------------------------------------------------


def _with_atheris(options: list[str]) -> None:
    try:
        import atheris  # type: ignore[import-not-found]
    except ImportError:
        sys.exit(
            "fuzz_validate.py: atheris is not installed (pip install atheris);"
            " --plain SECONDS runs without it"
        )
    with atheris.instrument_imports(include=["fixedram_fmt", "fixedram_cli"]):
        import fixedram_cli.render.findings  # noqa: F401
        from fixedram_fmt.validate import all_rules, report  # noqa: F401

        all_rules()
    given = {option.partition("=")[0] for option in options}
    options += [f"{name}={value}" for name, value in _DEFAULTS.items() if name not in given]
    with tempfile.TemporaryDirectory() as folder:
        for name, raw in seeds():
            (Path(folder) / name).write_bytes(raw)
        # Folders of the command line come first: libFuzzer keeps what it finds in the first.
        atheris.Setup([sys.argv[0], *options, folder], atheris.instrument_func(one_input))
        atheris.Fuzz()


def _plain(seconds: float, seed: int) -> None:
    """Splice pieces of the seeds; the input that raises is kept beside the traceback."""
    chance = random.Random(seed)
    pool = [raw for _, raw in seeds()]
    stop, done, slowest = time.monotonic() + seconds, 0, 0.0
    raw = b""
    try:
        while time.monotonic() < stop:
            raw = _mutated(pool, chance)
            begun = time.monotonic()
            one_input(raw)
            slowest = max(slowest, time.monotonic() - begun)
            done += 1
    except Exception:
        kept = Path(f"crash-{seed}-{done}")
        kept.write_bytes(raw)
        print(f"{kept}: {len(raw)} bytes, the {done + 1}. input", file=sys.stderr)
        raise
    print(f"{done} inputs, the slowest took {slowest:.2f} s")


#: Numbers that lie at a limit of something.
_NUMBERS = (0, 1, 2, 255, 4095, 4096, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
            1 << 40, 1 << 52, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1)  # fmt: skip


def _mutated(pool: list[bytes], chance: random.Random) -> bytes:
    raw = bytearray(chance.choice(pool))
    for _ in range(chance.randint(1, 6)):
        # Headers are where it hurts, and they are at both ends.
        near = min(600, len(raw))
        at = chance.choice((0, max(0, len(raw) - near))) + chance.randrange(near + 1)
        match chance.randrange(5):
            case 0:
                raw[at : at + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
            case 1:
                size = chance.choice((1, 2, 4, 8))
                number = chance.choice(_NUMBERS) % (1 << 8 * size)
                raw[at : at + size] = number.to_bytes(size, "big")
            case 2 if raw:
                raw[at % len(raw)] ^= 1 << chance.randrange(8)
            case 3:
                other = chance.choice(pool)
                start = chance.randrange(len(other) or 1)
                raw[at:at] = other[start : start + chance.randrange(200)]
            case _:
                del raw[at : at + chance.choice((1, 4, 8, 60, len(raw)))]
    return bytes(raw[:_SEED_CEILING])


def main() -> None:
    """As the docstring says."""
    sys.path[:0] = [str(ROOT), str(ROOT / "cli")]
    arguments = sys.argv[1:]
    if arguments[:1] == ["--plain"]:
        _plain(float(arguments[1]), int(arguments[2]) if len(arguments) > 2 else 0)
    else:
        _with_atheris(arguments)


if __name__ == "__main__":
    main()
