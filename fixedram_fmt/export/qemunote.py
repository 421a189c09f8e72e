"""QEMU's own note of an x86 vCPU: what NT_PRSTATUS has no room for (CR3, IDT, segments).

crash finds the kernel by it.  Upstream: QEMU target/i386/arch_dump.c QEMUCPUState.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema import elf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["qemu_note"]

_BITS, _WORD = (1 << 64) - 1, (1 << 32) - 1
# QEMU's numbers of registers and segments (target/i386/cpu.h), in the order of the note.
_REGISTERS = (0, 3, 1, 2, 6, 7, 4, 5, *range(8, 16))
_SEGMENTS = (1, 3, 0, 4, 5, 2)


def qemu_note(device: DeviceState) -> bytes | None:
    """The descriptor; None for a vCPU that is no x86, or whose state lacks what it needs."""
    fields = device.fields
    if fields is None or "env.eip" not in fields:
        return None
    try:
        return _note(fields)
    except (KeyError, IndexError, TypeError, ValueError):
        # Its description has other fields than QEMU's.
        return None


def _note(fields: Mapping[str, Any]) -> bytes:
    regs = [*fields["env.regs"], *[0] * 8][:16]
    numbers = [*(regs[number] for number in _REGISTERS), fields["env.eip"], fields["env.eflags"]]
    segments = [fields["env.segs"][number] for number in _SEGMENTS]
    segments += [fields[f"env.{name}"] for name in ("ldt", "tr", "gdt", "idt")]
    control = [fields[f"env.cr[{number}]"] for number in (0, 2, 3, 4)]
    control.insert(1, 0)
    note = elf.QemuCpuState(
        1,
        elf.QEMU_CPU_STATE_BYTES,
        b"".join((number & _BITS).to_bytes(8, "little") for number in numbers),
        b"".join(_segment(one) for one in segments),
        b"".join((number & _BITS).to_bytes(8, "little") for number in control),
        fields.get("env.kernelgsbase", 0) & _BITS,
    )
    return elf.QEMU_CPU_STATE.build(note)


def _segment(fields: Mapping[str, Any]) -> bytes:
    return elf.QEMU_SEGMENT.build(
        elf.QemuSegment(
            fields["selector"] & _WORD,
            fields["limit"] & _WORD,
            fields["flags"] & _WORD,
            0,
            fields["base"] & _BITS,
        )
    )
