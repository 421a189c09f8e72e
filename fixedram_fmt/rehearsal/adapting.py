"""What to change for the next try, by what QEMU said: a table.

A change makes the VM more like the one that saved; what it had is read from the image, never
guessed from the message alone.  Messages are those of QEMU's migration/ram.c, savevm.c, options.c,
system/vl.c and qom/object.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.rehearsal.asderived import as_derived, block_as_derived
from fixedram_fmt.rehearsal.memorycheck import OTHER_LENGTH
from fixedram_fmt.rehearsal.rehearsed import Adapted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.rehearsal.keyvalues import KeyValues
    from fixedram_fmt.rehearsal.vm import Vm

__all__ = ["adapt"]


class _Row(NamedTuple):
    """A message, and what changes the VM; None: nothing that would help is known."""

    message: re.Pattern[str]
    change: Callable[[re.Match[str], Vm, Image], str | None]


def adapt(vm: Vm, messages: Sequence[str], image: Image) -> Adapted | None:
    """Change vm for the first message that the table knows; None where nothing can be done."""
    for message in messages:
        for row in _ROWS:
            match = row.message.search(message)
            if match and (change := row.change(match, vm, image)):
                return Adapted(message, change)
    return None


#: The block that is as long as the file of -bios (hw/i386/x86-common.c x86_bios_rom_init).
_FIRMWARE = "pc.bios"


# -- the machine ----------------------------------------------------------------------------------


def _machine(match: re.Match[str], vm: Vm, _image: Image) -> str | None:
    return vm.set("machine", "type", match["theirs"])


def _memory(match: re.Match[str], vm: Vm, image: Image) -> str | None:
    """A length that differs: of a ROM, or of main memory."""
    block = _block(image, match["block"])
    if block is None:
        return None
    if block.name.endswith(".rom"):
        return _rom_size(block, vm)
    if block.name == _FIRMWARE:
        vm.add("bios", vm.blank(block.used_length))
        return f"-bios FILE with one of {block.used_length} bytes (the image has its content)"
    return vm.set("m", "size", f"{block.used_length}B") if block is _largest(image) else None


def _rom_size(block: RamBlock, vm: Vm) -> str | None:
    for place, members in _devices_of_rom(block.name, vm):
        if members.get("romsize") != str(block.used_length):
            members.members["romsize"] = str(block.used_length)
            return vm.replace(place, members)
    return None


def _unknown_block(match: re.Match[str], vm: Vm, image: Image) -> str | None:
    """A block that the receiver lacks: a ROM that was left out, or main memory's name."""
    block = _block(image, match["block"])
    if block is None:
        return None
    if block.name.endswith(".rom"):
        for place, members in _devices_of_rom(block.name, vm):
            if members.members.pop("romfile", None) is not None:
                return vm.replace(place, members)
        return as_derived(block.name, vm, image)
    named = any(members.get("memory-backend") for _, members in vm.values("machine", "M"))
    if block is not _largest(image) or named or "/" in block.name or "." in block.name:
        return block_as_derived(block.name, vm, image)
    vm.set("machine", "memory-backend", block.name)
    vm.set("m", "size", f"{block.used_length}B")
    return vm.add("object", f"memory-backend-ram,id={block.name},size={block.used_length}")


def _devices_of_rom(name: str, vm: Vm) -> Iterator[tuple[int, KeyValues]]:
    """-device options of the type that a ROM's block is named for, the one at its address first.

    Upstream: QEMU hw/pci/pci.c pci_add_option_rom().
    """
    path, _, rom = name.rpartition("/")
    slot = path.rpartition(":")[2]
    found = [one for one in vm.values("device") if one[1].get("driver") == rom.removesuffix(".rom")]
    yield from sorted(found, key=lambda one: not _at(one[1].get("addr"), slot))


def _at(addr: str | None, slot: str) -> bool:
    """Whether addr= (`3`, `0x3`, `3.1`) is a slot as names of sections have it (`03.1`)."""
    device, _, function = (addr or "").partition(".")
    try:
        return f"{int(device, 16):02x}.{int(function or '0', 16):x}" == slot
    except ValueError:
        return False


# -- devices --------------------------------------------------------------------------------------

#: Sections of vCPUs, one for each (target/*/machine.c, cpu-common, hw/intc/apic_common.c).
_CPU_SECTIONS = frozenset({"cpu", "cpu_common", "apic"})
_KVM_SECTIONS = frozenset({"kvmclock", "kvm-tpr-opt", "kvm_clock"})


def _unknown_section(match: re.Match[str], vm: Vm, image: Image) -> str | None:
    name, instance = match["name"], int(match["instance"])
    if name in _CPU_SECTIONS and instance < 4096:
        return vm.set("smp", "cpus", str(instance + 1))
    if name in _KVM_SECTIONS and vm.accel != "kvm":
        vm.accel = "kvm"
        return "-accel kvm"
    return as_derived(name, vm, image)


#: Properties that add fields to a section or take them away, by the end of the section's name.
_SWITCHES = {
    "piix4_pm": ("PIIX4_PM", "x-not-migrate-acpi-index"),
    "ICH9LPC": ("ICH9-LPC", "x-not-migrate-acpi-index"),
}


def _switch(match: re.Match[str], vm: Vm, _image: Image) -> str | None:
    """A part that one side does not have: the property that decides on it, the other way round."""
    switch = _SWITCHES.get(match["name"].rpartition("/")[2])
    if switch is None:
        return None
    key = ".".join(switch)
    for place, members in vm.values("global"):
        if key in members.members:
            on = members.members[key] in {"on", "true", "yes"}
            if not on:
                return None
            return vm.remove(place)
    return vm.add("global", f"{key}=on")


def _no_property(match: re.Match[str], vm: Vm, _image: Image) -> str | None:
    what, key = match["what"], match["key"]
    names = ("machine", "M") if what.endswith("-machine") else ("device",)
    for place, members in vm.values(*names):
        if (names[0] == "machine" or members.get("driver") == what) and key in members.members:
            del members.members[key]
            return vm.replace(place, members)
    for place, members in vm.values("global"):
        if f"{what}.{key}" in members.members:
            return vm.remove(place)
    return None


def _no_device(match: re.Match[str], vm: Vm, _image: Image) -> str | None:
    for place, members in vm.values("device"):
        if members.get("driver") == match["what"]:
            return vm.remove(place)
    return None


def _device(match: re.Match[str], vm: Vm, image: Image) -> str | None:
    """A device that refuses its state: as the image tells it."""
    return as_derived(match["name"], vm, image)


# -- how it is loaded -----------------------------------------------------------------------------


def _capability(match: re.Match[str], vm: Vm, _image: Image) -> str | None:
    if match["theirs"] != "on" or match["name"] in vm.capabilities:
        return None
    vm.capabilities.append(match["name"])
    return f"migration capability {match['name']} on"


def _postcopy(_match: re.Match[str], vm: Vm, _image: Image) -> str | None:
    if "postcopy-ram" in vm.capabilities:
        return None
    vm.capabilities.append("postcopy-ram")
    return "migration capability postcopy-ram on"


def _host_cpu(_match: re.Match[str], vm: Vm, _image: Image) -> str | None:
    for _, members in vm.values("cpu"):
        if members.get("model") == "host":
            return vm.set("cpu", "model", "max")
    return None


# -- what is in the image -------------------------------------------------------------------------


def _block(image: Image, name: str) -> RamBlock | None:
    return next((block for block in image.blocks if block.name == name), None)


def _largest(image: Image) -> RamBlock | None:
    return max(image.blocks, key=lambda block: block.used_length, default=None)


_ROWS = (
    _Row(re.compile(r"Machine type received is '(?P<theirs>[\w.-]+)' and local is"), _machine),
    _Row(re.compile(r"(?:Size|Length) mismatch: (?P<block>.+): (?:0x)?[0-9a-f]+ .*!="), _memory),
    _Row(re.compile(r"page outside of ramblock (?P<block>.+) range"), _memory),
    _Row(re.compile(rf"(?P<block>.+) {OTHER_LENGTH}"), _memory),
    _Row(re.compile(r'Unknown ramblock "(?P<block>[^"]+)"'), _unknown_block),
    _Row(
        re.compile(r"Unknown savevm section or instance '(?P<name>[^']+)' (?P<instance>\d{1,9})"),
        _unknown_section,
    ),
    _Row(re.compile(r"Missing section footer for (?P<name>\S+)"), _switch),
    _Row(re.compile(r"Missing section footer for (?P<name>\S+)"), _device),
    _Row(re.compile(r"Failed to load (?P<name>[\w-]+):"), _switch),
    _Row(re.compile(r"state for instance 0x[0-9a-f]+ of device '(?P<name>[^']+)'"), _device),
    _Row(re.compile(r"Property '(?P<what>[^'.]+(?:\.\d[^'.]*)*)\.(?P<key>[^'.]+)' not found"),
         _no_property),
    _Row(re.compile(r"'(?P<what>[^']+)' is not a valid device model name"), _no_device),
    _Row(
        re.compile(
            r"Capability (?P<name>[\w-]+) is (?:on|off), but received capability is (?P<theirs>\w+)"
        ),
        _capability,
    ),
    _Row(re.compile(r"RAM postcopy is disabled but have 16 byte advise"), _postcopy),
    _Row(re.compile(r"CPU model 'host' requires KVM"), _host_cpu),
)  # fmt: skip
