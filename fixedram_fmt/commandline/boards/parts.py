"""What the boards have in common: program, memory, CPUs, the sections that a board brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.memory import add_memory, size_text
from fixedram_fmt.knowledge import known_in, known_versions
from fixedram_fmt.memory.blockroles import MAIN_NAMES
from fixedram_fmt.receiver.programs import programs_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = [
    "bits_of_cpu", "claim_names", "cpu_subsections", "give_cpus", "give_firmware", "give_memory",
    "program_of", "unknown_cpu",
]  # fmt: skip

#: Machines of architectures of which no list is known here, by how their names begin.
_UNLISTED = (
    ("arduino-", "avr"), ("or1k-sim", "or1k"), ("clipper", "alpha"), ("petalogix-", "microblaze"),
    ("gdbsim-", "rx"), ("tricore_", "tricore"), ("KIT_AURIX_", "tricore"),
)  # fmt: skip
#: A board whose machine has another architecture's name, by its main memory.
_BY_MEMORY = {"openrisc.ram": "or1k"}
#: Programs of 64 bits: a register of their vCPUs, and the program where it has 32.
_NARROW = {"ppc64": ("env.nip", "ppc"), "riscv64": ("env.pc", "riscv32")}


def program_of(evidence: Evidence) -> str | None:
    """The ARCH of qemu-system-ARCH for an image; None: neither its vCPUs nor its machine tell."""
    name = evidence.machine
    found = [arch for block, arch in _BY_MEMORY.items() if block in evidence.blocks]
    found += [arch for start, arch in _UNLISTED if name.startswith(start)]
    if found:
        return found[0]
    having = [arch for version in reversed(known_versions()) for arch in _having(version, name)]
    programs = [one for wide in programs_for(evidence.image) for one in _widths(evidence, wide)]
    found = [*(one for one in programs if one in having), *programs, *having]
    return found[0] if found else None


def _widths(evidence: Evidence, program: str) -> tuple[str, ...]:
    """The programs that may be meant by one: a board of 32 bits is at home in that of 32."""
    if program == "aarch64":
        return ("arm", program)
    path, narrow = _NARROW.get(program, ("", program))
    return (narrow if path and bits_of_cpu(evidence, path) == 32 else program,)


def _having(version: str, machine: str) -> tuple[str, ...]:
    known = known_in(version)
    return known.architectures_of(machine) if known else ()


def bits_of_cpu(evidence: Evidence, path: str) -> int | None:
    """The width of a register in the first vCPU's state: a program's target_ulong, in bits."""
    first = next(iter(evidence.instances("cpu")), 0)
    device = evidence.device("cpu", first)
    if device is None or device.structure is None:
        return None
    sizes = (field.size for field in device.structure.fields if field.name == path)
    size = next(sizes, None)
    return size * 8 if size else None


def cpu_subsections(evidence: Evidence) -> set[str] | None:
    """The subsections of the first vCPU, without `cpu/`; None where its state is not described."""
    first = next(iter(evidence.instances("cpu")), 0)
    device = evidence.device("cpu", first)
    if device is None or device.structure is None:
        return None
    return {name.removeprefix("cpu/") for name in evidence.subsections("cpu", first)}


def unknown_cpu(draft: Draft, chosen: str) -> None:
    """Tell that nothing in the state says which model the CPU is."""
    draft.doubt(
        f"the state does not tell the model of the CPU: {chosen} is a guess,"
        " look at what was given as -cpu"
    )


def give_cpus(evidence: Evidence, draft: Draft, most: int | None = None) -> None:
    """-smp by the vCPUs that have a section; most is how many there may be, where that is told."""
    names = ("cpu", "cpu_common")
    count = max(len(evidence.instances(name)) for name in names)
    if not count:
        draft.doubt("the image has no state of a vCPU: how many there were is not known")
    elif most is not None and most > count:
        draft.smp = f"{count},maxcpus={most}"
    elif count > 1:
        draft.smp = f"{count}"


def give_memory(evidence: Evidence, draft: Draft, default: str) -> None:
    """-m by the block that the board calls default; elsewhere what any machine may have."""
    length = evidence.length(default)
    if length and default not in MAIN_NAMES:
        draft.memory = size_text(length)
    else:
        add_memory(evidence, draft)


def give_firmware(evidence: Evidence, draft: Draft, property_name: str, block: str) -> None:
    """A flash drive for a board that acts otherwise where it has firmware.

    The guest sees what is in the block of RAM, and that comes with the image.
    """
    length = evidence.length(block)
    if not length:
        return
    name = draft.disk(length, f"{property_name} (firmware)")
    draft.machine[property_name] = name


def claim_names(evidence: Evidence, draft: Draft, names: Iterable[str]) -> None:
    """Claim all sections of these names."""
    for name in names:
        draft.claim_all((name, instance) for instance in evidence.instances(name))
