"""Faults of the stream around the RAM: header, configuration, sections, commands, the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.elements import Literal, Raw, Structure
from fixedram_fmt.write.faults.fault import Elements, Outcome, Pieces, on_elements, on_pieces

if TYPE_CHECKING:
    from fixedram_fmt.write.elements import Element

LOADS, REFUSES, WRONG = Outcome.LOADS, Outcome.REFUSES, Outcome.WRONG_MEMORY
CRASHES = Outcome.CRASHES

_HUGE = 0xFFFFFFFF


def _raw(data: bytes, path: str = "fault") -> Raw:
    return Raw(Kind.UNKNOWN, path, Literal(data))


def _subsection(idstr: bytes, body: bytes) -> list[Element]:
    header = stream.Subsection(SectionType.SUBSECTION, idstr, 1)
    return [Structure(Kind.SUBSECTION, "fault/header", header), _raw(body, "fault/body")]


# -- file header and configuration ----------------------------------------------------------------


@on_elements("wrong-magic", "the file does not begin with QEVM", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.FILE_HEADER, magic=b"MVEQ")


@on_elements("wrong-version", "stream version 4, which nobody knows", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.FILE_HEADER, version=4)


@on_elements("old-version", "stream version 2, of before 2009", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.FILE_HEADER, version=2)


@on_elements(
    "no-configuration", "no configuration section, as streams before 2.4 had none", REFUSES
)
def _(e: Elements) -> None:
    del e.items[e.index(Kind.CONFIGURATION) : e.index(Kind.SECTION_START)]


@on_elements("other-machine", "the machine type of another guest", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.CONFIGURATION, name=b"fixedram-no-such-machine")


@on_elements("empty-machine", "a machine type of no characters, the prefix of every one", LOADS)
def _(e: Elements) -> None:
    e.change(Kind.CONFIGURATION, name=b"")


@on_elements("longer-machine", "a machine type longer than the real one", REFUSES)
def _(e: Elements) -> None:
    name = e.value(Kind.CONFIGURATION).name
    e.change(Kind.CONFIGURATION, name=name + b"-i440fx-10.0-and-more")


@on_elements("hostile-machine", "a machine type of terminal escapes and markup", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.CONFIGURATION, name=b"\x1b]0;owned\x07[bold red]\xff\xfe\n")


@on_pieces("machine-length-huge", "a machine type of 4 GiB", CRASHES)
def _(p: Pieces) -> None:
    p.overwrite(Kind.CONFIGURATION, 0, _HUGE.to_bytes(4, "big"), at=1)


@on_elements("no-capabilities", "no capability is named, the layout is there all the same", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.CAPABILITIES, caps_count=0)
    e.remove(Kind.CAPABILITY)


@on_elements("unknown-capability", "a capability that does not exist", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.CAPABILITY, capability=b"imagined-ram")


@on_elements("extra-capability", "a second capability, which the receiver has not set", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.CAPABILITIES, caps_count=2)
    extra = Structure(Kind.CAPABILITY, "fault", stream.Capability(b"x-ignore-shared"))
    e.insert(e.index(Kind.CAPABILITY), extra)


@on_elements("capability-count-huge", "4 Gi capabilities announced, one there", CRASHES)
def _(e: Elements) -> None:
    e.change(Kind.CAPABILITIES, caps_count=_HUGE)


@on_elements("unknown-subsection", "a subsection of the configuration nobody knows", REFUSES)
def _(e: Elements) -> None:
    e.insert(e.index(Kind.SECTION_START), *_subsection(b"configuration/imagined", bytes(8)))


@on_elements("unasked-uuid", "a UUID although the receiver does not validate it", LOADS)
def _(e: Elements) -> None:
    e.insert(e.index(Kind.SECTION_START), *_subsection(b"configuration/uuid", bytes(range(16))))


@on_elements("wrong-page-bits", "a target page size of 64 KiB on a machine of 4 KiB", REFUSES)
def _(e: Elements) -> None:
    bits = (16).to_bytes(4, "big")
    e.insert(e.index(Kind.SUBSECTION), *_subsection(b"configuration/target-page-bits", bits))


# -- sections -------------------------------------------------------------------------------------


@on_elements("unknown-section", "RAM under a name nobody knows", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.SECTION_START, idstr=b"rom")


@on_elements("ram-version-99", "RAM of a version from the future", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.SECTION_START, version_id=99)


@on_elements("ram-instance-1", "RAM of a second instance that does not exist", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.SECTION_START, instance_id=1)


@on_elements("ram-sent-as-full", "RAM as a SECTION_FULL, like a device", LOADS)
def _(e: Elements) -> None:
    index = e.index(Kind.SECTION_START)
    header = e.items[index]
    if isinstance(header, Structure):
        value = replace(header.value, section_type=int(SectionType.SECTION_FULL))
        e.items[index] = replace(header, kind=Kind.SECTION_FULL, value=value)


@on_elements("footer-missing", "no footer after the RAM", REFUSES)
def _(e: Elements) -> None:
    e.remove(Kind.SECTION_FOOTER)


@on_elements("footer-of-another-section", "the footer has another section's id", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.SECTION_FOOTER, section_id=4711)


@on_elements("footer-of-another-type", "the footer's type byte is 0x7d", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.SECTION_FOOTER, section_type=0x7D)


@on_elements("part-before-start", "a PART before the section has started", REFUSES)
def _(e: Elements) -> None:
    part = e.section(Kind.SECTION_PART)
    e.insert(e.index(Kind.SECTION_START), *e.items[part])


@on_elements("part-of-nothing", "a PART of a section that does not exist", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.SECTION_PART, section_id=4711)


@on_elements("part-after-end", "a PART after the section has ended", LOADS)
def _(e: Elements) -> None:
    part = e.items[e.section(Kind.SECTION_PART)]
    e.insert(e.section(Kind.SECTION_END).stop, *part)


@on_elements("no-parts", "no PART at all", LOADS)
def _(e: Elements) -> None:
    while any(getattr(item, "kind", None) is Kind.SECTION_PART for item in e.items):
        del e.items[e.section(Kind.SECTION_PART)]


@on_elements("no-end", "the RAM section has no END", LOADS)
def _(e: Elements) -> None:
    del e.items[e.section(Kind.SECTION_END)]


@on_elements("start-twice", "the RAM section starts a second time, empty", LOADS)
def _(e: Elements) -> None:
    start = e.items[e.index(Kind.SECTION_START)]
    footer = e.items[e.index(Kind.SECTION_FOOTER)]
    eos = e.items[e.index(Kind.EOS)]
    e.insert(e.index(Kind.SECTION_END), start, eos, footer)


@on_elements("unknown-section-type", "a byte where a section should begin", REFUSES)
def _(e: Elements) -> None:
    e.insert(e.index(Kind.SECTION_PART), _raw(b"\x55"))


@on_elements("unknown-device", "the state of a device the receiver has not", REFUSES)
def _(e: Elements) -> None:
    header = stream.SectionHeader(SectionType.SECTION_FULL, 4711, b"imagined-device", 0, 1)
    e.insert(
        e.index(Kind.EOF),
        Structure(Kind.SECTION_FULL, "fault/header", header),
        _raw(bytes(16), "fault/body"),
        Structure(Kind.SECTION_FOOTER, "fault/footer", stream.SectionFooter(0x7E, 4711)),
    )


# -- commands and the end -------------------------------------------------------------------------


def _command(e: Elements, number: int, data: bytes) -> None:
    command = stream.Command(SectionType.COMMAND, number, data)
    e.insert(e.index(Kind.SECTION_PART), Structure(Kind.COMMAND, "fault/command", command))


@on_elements("unknown-command", "command 99", REFUSES)
def _(e: Elements) -> None:
    _command(e, 99, b"")


@on_elements("command-with-wrong-length", "a PING without its number", REFUSES)
def _(e: Elements) -> None:
    _command(e, stream.MigCmd.PING, b"")


@on_elements("ping", "a PING that nobody can answer in a file", REFUSES)
def _(e: Elements) -> None:
    _command(e, stream.MigCmd.PING, bytes(4))


@on_elements("no-eof", "the stream has no EOF byte", REFUSES)
def _(e: Elements) -> None:
    del e.items[e.index(Kind.EOF) :]


@on_elements("eof-before-ram", "the stream ends before its RAM section", WRONG)
def _(e: Elements) -> None:
    e.insert(e.index(Kind.SECTION_START), e.items[e.index(Kind.EOF)])


@on_elements("trailing-garbage", "bytes after the end", LOADS)
def _(e: Elements) -> None:
    e.items.append(_raw(b"garbage {" * 100))


@on_elements("vmdesc-no-json", "a description that is no JSON", LOADS)
def _(e: Elements) -> None:
    index = e.index(Kind.VMDESCRIPTION_JSON)
    e.items[index] = _raw(b"x" * e.value(Kind.VMDESCRIPTION).length)


@on_elements("vmdesc-length-huge", "a description of 4 GiB in a small file", LOADS)
def _(e: Elements) -> None:
    e.change(Kind.VMDESCRIPTION, length=_HUGE)


@on_elements("vmdesc-nested", "a description nested 100,000 deep", LOADS)
def _(e: Elements) -> None:
    text = b'{"devices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    e.change(Kind.VMDESCRIPTION, length=len(text))
    e.items[e.index(Kind.VMDESCRIPTION_JSON)] = _raw(text)
