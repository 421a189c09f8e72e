"""What virsh restore does: the rows of effects.py that libvirt's versions decide, FORMAT 1.

Read in src/qemu/qemu_saveimage.c and src/qemu/qemu_process.c, and tried with libvirt 9.0; the
messages are libvirt's, or QEMU's where libvirt passes them on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.schema.libvirt import SaveFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.loaders import Libvirt
    from fixedram_fmt.validation.effects import Case

__all__ = ["LATE", "RESTORE", "restore_effect"]

Told = tuple[Outcome, str] | None

_RAW, _SPARSE = "raw", "sparse"
_NO_STREAM = "Not a migration stream"
_NOT_MAPPED = "Capability mapped-ram is on, but received capability is off"
_MAPPED = "Capability mapped-ram is off, but received capability is on"
_FD = "fd: migration to a file is not supported. Use file: instead."


def _refuses(message: str) -> Callable[[Case, Libvirt], Told]:
    def row(case: Case, _libvirt: Libvirt) -> Told:
        finding = case.finding
        told = {"found": finding.found, "expected": finding.expected, "message": finding.message}
        return Outcome.REFUSES, message.format(**told)

    return row


def _unknown_format(case: Case, libvirt: Libvirt) -> Told:
    number = _number(case.finding.found)
    if number is None or number <= libvirt.last_format:
        return None
    if libvirt.major < 11:
        return Outcome.REFUSES, f"Invalid compressed save format {number}"
    return Outcome.REFUSES, f"unsupported save image format: {number}"


def _number(name: str) -> int | None:
    known = {one.name.lower(): int(one) for one in SaveFormat}
    return known.get(name, int(name) if name.isdigit() else None)


def _other_format(case: Case, _libvirt: Libvirt) -> Told:
    """What is named in the header decides who reads the stream."""
    named, real = case.finding.found, case.finding.expected
    if named == _RAW:
        return Outcome.REFUSES, _MAPPED if real == _SPARSE else _NO_STREAM
    if named == _SPARSE:
        return Outcome.REFUSES, _NOT_MAPPED if real == _RAW else _NO_STREAM
    return Outcome.CRASHES, f"hangs: {named} -dc gives up, and virsh restore waits for ever"


def _cookie_outside(case: Case, _libvirt: Libvirt) -> Told:
    save = case.survey.image.container.find(LibvirtSave) if case.survey else None
    if save is None or save.header.cookie_offset == save.header.data_len:
        return None
    if save.xml_offset + save.header.cookie_offset > save.source.size:
        return Outcome.REFUSES, "failed to read domain XML"
    # cookie_len is data_len - cookieOffset as a size_t.
    return Outcome.CRASHES, "GLib-ERROR: failed to allocate memory (the length of the cookie wraps)"


def _no_xml(case: Case, _libvirt: Libvirt) -> Told:
    save = case.survey.image.container.find(LibvirtSave) if case.survey else None
    if save is not None and not save.header.data_len:
        return Outcome.REFUSES, "invalid header data length: 0"
    return Outcome.REFUSES, "(domain_definition): the XML cannot be parsed"


def _past_end(case: Case, _libvirt: Libvirt) -> Told:
    if case.finding.found == "0":
        return Outcome.REFUSES, "invalid header data length: 0"
    part = "cookie" if case.finding.path == "libvirt.cookie" else "domain XML"
    return Outcome.REFUSES, f"failed to read {part}"


def _cut_packed(case: Case, _libvirt: Libvirt) -> Told:
    container = case.survey.image.container if case.survey else None
    if container is None or container.stream_compression is None:
        return None
    program = f"{container.stream_compression} -dc"
    return Outcome.REFUSES, f"Child process ({program}) unexpected exit status 1"


def _raw_by_fd(case: Case, libvirt: Libvirt) -> Told:
    return (Outcome.REFUSES, _FD) if libvirt.raw_through_fd and _needs_11(case) else None


def _needs_11(case: Case) -> bool:
    return case.finding.found.isdigit() and int(case.finding.found) >= 11


def _memory(case: Case, _libvirt: Libvirt) -> Told:
    survey, finding = case.survey, case.finding
    has, given = int(finding.found), int(finding.expected)
    block = survey.listed_by_path.get(finding.path) if survey else None
    if survey is None or block is None:
        return None
    if not survey.mapped:
        return Outcome.REFUSES, f"Size mismatch: {block.name}: {has:#x} != {given:#x}"
    bitmap = survey.bitmaps.get(block.index)
    if given < has and (bitmap is None or bitmap.count(given // block.page_size)):
        return Outcome.REFUSES, f"page outside of ramblock {block.name} range"
    return None


def _cpus(case: Case, _libvirt: Libvirt) -> Told:
    has, given = int(case.finding.found), int(case.finding.expected)
    if has <= given:
        return None
    return Outcome.REFUSES, f"Unknown section or instance 'cpu_common' {given}"


#: In the order in which libvirt checks; LATE ones are QEMU's, after it was started.
RESTORE: dict[str, Callable[[Case, Libvirt], Told]] = {
    "C01": _refuses("save image is incomplete"),
    "C09": _refuses("image version is not supported ({found} > 2)"),
    "C10": _past_end,
    "C03": _cookie_outside,
    "C04": _no_xml,
    "C12": _refuses("{message}"),
    "C13": _refuses("(save cookie): {message}"),
    "C11": _unknown_format,
    "C02": _other_format,
    "C08": _refuses(_MAPPED),
    "C17": _raw_by_fd,
}
LATE: dict[str, Callable[[Case, Libvirt], Told]] = {
    "C14": _refuses("Machine type received is {found} and local is {expected}"),
    "C15": _memory,
    "C16": _cpus,
    "C07": _cut_packed,
}


def restore_effect(case: Case) -> Told:
    """What a finding makes virsh restore do; None where it is not libvirt that loads."""
    libvirt = case.loader.libvirt
    row = RESTORE.get(case.finding.rule.id) or LATE.get(case.finding.rule.id)
    return row(case, libvirt) if libvirt and row else None
