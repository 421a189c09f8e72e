"""vCPUs of x86: how many, in what topology, and what can be told of their model.

Upstream: QEMU target/i386/machine.c vmstate_x86_cpu; hw/intc/apic_common.c apic_common_realize(),
by which the instance id of an APIC's section is its APIC id; include/hw/i386/topology.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["add_cpus", "architecture"]

#: CPU_NB_REGS32: a CPU of qemu-system-i386 has so many.
_REGISTERS_32 = 8
#: More vCPUs than any machine type has.
_CPUS_CEILING = 4096
#: What qemu64 lacks, by bits of CR4: UMIP, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP, PKE, LA57.
_CR4_BEYOND = 1 << 11 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 12
_XCR0_X87 = 1


def architecture(evidence: Evidence) -> str:
    """ARCH of the qemu-system-ARCH that has these vCPUs."""
    registers = evidence.get("cpu", "env.regs")
    short = isinstance(registers, list) and len(registers) == _REGISTERS_32
    return "i386" if short else "x86_64"


def add_cpus(evidence: Evidence, draft: Draft) -> None:
    """-smp and -cpu, and a -device for each that was plugged in with a gap before it."""
    _model(evidence, draft)
    there = sorted(evidence.instances("cpu_common") or evidence.instances("cpu"))[:_CPUS_CEILING]
    first = next((at for at, one in enumerate(there) if one != at), len(there))
    plugged = [one for one in there[first:] if one < _CPUS_CEILING]
    apics = sorted(evidence.instances("apic"))
    if not plugged or not first:
        draft.smp = _topology(apics, max(first, 1))
        return
    most = plugged[-1] + 1
    draft.smp = f"{first},sockets={most},maxcpus={most}"
    model = (draft.cpu or f"{_usual(evidence)},").partition(",")[0]
    driver = f"{model}-{architecture(evidence)}-cpu"
    for number in plugged:
        draft.device(driver, {"socket-id": number, "core-id": 0, "thread-id": 0})
    draft.doubt("how plugged in vCPUs are divided into sockets is not told: each is one")


def _topology(apics: Sequence[int], count: int) -> str | None:
    """-smp by the ids of the APICs; those that follow one another fit any topology."""
    if count > 1 and len(apics) == count and apics[-1] != count - 1:
        for threads in range(1, count + 1):
            for cores in range(1, count // threads + 1):
                sockets = count // (threads * cores)
                if sockets * cores * threads == count and apics == _ids(sockets, cores, threads):
                    return f"{count},sockets={sockets},cores={cores},threads={threads}"
    return str(count) if count > 1 else None


def _ids(sockets: int, cores: int, threads: int) -> list[int]:
    """APIC ids: each level takes as many bits as the largest of its numbers needs."""
    core_shift = (threads - 1).bit_length()
    socket_shift = core_shift + (cores - 1).bit_length()
    return [
        socket << socket_shift | core << core_shift | thread
        for socket in range(sockets)
        for core in range(cores)
        for thread in range(threads)
    ]


def _model(evidence: Evidence, draft: Draft) -> None:
    if evidence.has("cpu") and evidence.lacks("apic"):
        draft.cpu = f"{_usual(evidence)},-apic"
    elif _is_beyond(evidence):
        draft.cpu = "max"
        draft.doubt("the guest uses what the default CPU lacks: -cpu max is taken for its model")
        return
    draft.doubt("the CPU model is not in the image: without the -cpu it had, it is the default")


def _usual(evidence: Evidence) -> str:
    """The model that QEMU takes where none is named."""
    return "qemu64" if architecture(evidence) == "x86_64" else "qemu32"


def _is_beyond(evidence: Evidence) -> bool:
    """Whether registers show features that the default model has not."""
    cr4 = evidence.number("cpu", "env.cr[4]") or 0
    xcr0 = evidence.number("cpu", "cpu/xsave/env.xcr0") or evidence.number("cpu", "env.xcr0")
    return bool(cr4 & _CR4_BEYOND) or bool((xcr0 or 0) & ~_XCR0_X87)
