"""Images of the cases of rules: tests/validation/cases/*.toml, made as its README says."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from fixedram_fmt.io.output import replacing
from fixedram_fmt.results import builtins
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.libvirt import LIBVIRT_HEADER
from fixedram_fmt.schema.ram import RamRecord, RamSaveFlag
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.validation import Receiver
from fixedram_fmt.write.elements import Literal, Raw, Structure
from fixedram_fmt.write.faults import Fault, Outcome, fault_named
from fixedram_fmt.write.faults.fault import Elements, Pieces
from fixedram_fmt.write.spec import spec_from
from fixedram_fmt.write.synth import write_image
from support import rule_mutations
from support.synthetic import PAGE, ordinary, ram_word

FOLDER = Path(__file__).parent.parent / "validation" / "cases"
SPEC: dict[str, Any] = {
    "blocks": [
        {"name": "pc.ram", "size": 64 * PAGE, "pattern": "counter", "density": 0.5},
        {"name": "pc.rom", "size": 8 * PAGE, "pattern": "text"},
    ],
    "devices": [
        {"name": "timer", "data": "00" * 24},
        {"name": "cpu", "version": 12, "data": "7e" * 40},
        {"name": "rtc", "data": "ff" + "00" * 31},
    ],
}
Step = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """How an image is made: a spec, faults, steps, and what it is to be loaded into."""

    spec: dict[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    elements: tuple[Step, ...] = ()
    pieces: tuple[Step, ...] = ()
    file: tuple[Step, ...] = ()
    destination: dict[str, Any] | None = None
    deep: bool = True
    #: Which snapshot of the file is asked about.
    snapshot: str = ""

    def location(self, path: Path) -> str:
        return f"{path}#{self.snapshot}" if self.snapshot else str(path)

    def write(self, path: Path) -> Path:
        steps = Fault(
            "steps", "", Outcome.LOADS, Outcome.LOADS,
            on_elements=lambda e: [_element_step(e, step) for step in self.elements] and None,
            on_pieces=lambda p: [_piece_step(p, step) for step in self.pieces] and None,
        )  # fmt: skip
        with replacing(path) as output:
            faults = [*map(fault_named, self.faults), steps]
            write_image(spec_from({**SPEC, **self.spec}), output, faults)
        if self.file:
            data = path.read_bytes()
            for step in self.file:
                data = _file_step(data, step)
            # New bytes in a file without holes, unless they are few.
            path.write_bytes(data)
        return path

    def destination_from(self, fitting: Receiver) -> Receiver | None:
        if self.destination is None:
            return None
        return msgspec.convert({**builtins(fitting), **self.destination}, Receiver)


@dataclass(frozen=True)
class Case:
    """An image that trips the rule and what else it cannot help tripping; its clean twin."""

    bad: Made
    twin: Made
    also: frozenset[str]


def _made(values: dict[str, Any]) -> Made:
    spec = dict(values.pop("spec", {}))
    if "devices" in spec:
        spec["devices"] = [_device(**device) for device in spec["devices"]]
    steps = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Made(**{**values, **steps, "spec": spec})


def _device(name: str, data: str = "", zeros: int = 0, **more: int) -> dict[str, Any]:
    return {"name": name, "data": data.replace(" ", "") + "00" * zeros, **more}


def cases() -> dict[str, Case]:
    """All cases by the rule's id."""
    found = {}
    for path in FOLDER.glob("*.toml"):
        for rule_id, values in tomllib.loads(path.read_text()).items():
            assert rule_id not in found, rule_id
            fits = {} if "destination" in values else None
            twin = values.pop("twin", {"spec": values.get("spec", {}), "destination": fits,
                                       "deep": values.get("deep", True)})  # fmt: skip
            also = frozenset(values.pop("also", ()))
            found[rule_id] = Case(_made(values), _made(twin), also)
    return found


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.encode("latin-1") if isinstance(value, str) else value
        for key, value in values.items()
    }


def _element_step(e: Elements, step: Step) -> None:
    number = step.get("number", 0)
    match step:
        case {"change": kind, "set": values}:
            e.change(Kind(kind), number, **_fields(values))
        case {"insert": data, "before": kind}:
            e.insert(e.index(Kind(kind), number), _raw(bytes.fromhex(data)))
        case {"remove": kind}:
            e.remove(Kind(kind), number)
        case {"remove_section": kind}:
            del e.items[e.section(Kind(kind), number)]
        case {"capability": name}:
            e.change(Kind.CAPABILITIES, caps_count=2)
            added = Structure(Kind.CAPABILITY, "test", stream.Capability(name.encode()))
            e.insert(e.index(Kind.CAPABILITY) + 1, added)
        case {"subsection": name, "hex": data}:
            value = stream.Subsection(SectionType.SUBSECTION, name.encode(), 1)
            body = _raw(bytes.fromhex(data) * step.get("times", 1))
            e.insert(e.index(Kind.SECTION_START), Structure(Kind.SUBSECTION, "test", value), body)
        case {"describe": name, "fields": fields}:
            rule_mutations.describe(e, name, fields, step.get("subsections", {}))
        case {"flush_in": kind}:
            flush = RamRecord(int(RamSaveFlag.MULTIFD_FLUSH))
            added = Structure(Kind.MULTIFD_FLUSH, "test", flush)
            e.insert(e.index(Kind(kind)) + 1, added)
        case {"call": name}:
            getattr(rule_mutations, name)(e)
        case _:
            raise ValueError(f"no step on elements: {step}")


def _raw(data: bytes) -> Raw:
    return Raw(Kind.UNKNOWN, "test", Literal(data))


def _piece_step(p: Pieces, step: Step) -> None:
    number = step.get("number", 0)
    match step:
        case {"change": kind}:
            value = p.piece(Kind(kind), number).value
            sums = {key: getattr(value, key) + more for key, more in step.get("add", {}).items()}
            p.change(Kind(kind), number, **sums, **step.get("set", {}))
        case {"overwrite": kind, "hex": data}:
            p.overwrite(Kind(kind), number, bytes.fromhex(data), at=step.get("at", 0))
        case {"call": name}:
            getattr(rule_mutations, name)(p)
        case _:
            raise ValueError(f"no step on pieces: {step}")


def _file_step(data: bytes, step: Step) -> bytes:
    match step:
        case {"libvirt": values}:
            value, size = LIBVIRT_HEADER["little"].parse(data)
            return LIBVIRT_HEADER["little"].build(replace(value, **values)) + data[size:]
        case {"xml": _} | {"devices": _}:
            return _xml_step(data, step)
        case {"ordinary": records}:
            return ordinary(b"".join(_record(**record) for record in records))
        case {"append_zeros": count}:
            return data + bytes(count)
        case {"cut": count}:
            return data[:-count]
        case {"call": name}:
            changed: bytes = getattr(rule_mutations, name)(data, *step.get("with", ()))
            return changed
        case _:
            raise ValueError(f"no step on the file: {step}")


def _xml_step(data: bytes, step: Step) -> bytes:
    """Another domain XML; the stream stays where it is."""
    value, size = LIBVIRT_HEADER["little"].parse(data)
    xml, stream_ = data[size : size + value.data_len], data[size + value.data_len :]
    match step:
        case {"xml": [old, new]}:
            assert len(old) == len(new), "offsets in the stream are the file's"
            assert old.encode() in xml
            changed = xml.replace(old.encode(), new.encode())
        case {"devices": devices}:
            told = f"<devices>{devices}</devices></domain>".encode()
            changed = xml.replace(b"</domain>", told).rstrip(b"\0").ljust(len(xml), b"\0")
            assert len(changed) == len(xml), "there is no room for them"
    return data[:size] + changed + stream_


def _record(
    page: int = 0,
    delta: str | None = None,
    times: int = 1,
    encoding: int = 1,
    fill: int | None = None,
) -> bytes:
    """A page at an address, whole or by the byte that fills it, or a delta of the page before."""
    if fill is not None:
        name = ram.PAGE_IDSTR.build(ram.PageIdstr(b"pc.ram"))
        return ram_word(page, RamSaveFlag.ZERO) + name + bytes([fill])
    if delta is None:
        name = ram.PAGE_IDSTR.build(ram.PageIdstr(b"pc.ram"))
        return ram_word(page, RamSaveFlag.PAGE) + name + b"x" * PAGE
    payload = bytes.fromhex(delta) * times
    head = ram.XBZRLE_PAGE.build(ram.XbzrlePage(encoding, len(payload)))
    return ram_word(0, RamSaveFlag.XBZRLE, RamSaveFlag.CONTINUE) + head + payload
