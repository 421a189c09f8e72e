"""What a domain's XML says of the machine itself; what it says of devices is tested beside."""

from __future__ import annotations

from fixedram_fmt.container.domain import DomainCpu, DomainFeatures, MaxMemory
from support.domains import domain

MIB = 1 << 20


def memory(model: str, size: int, address: str = "", alias: str = "") -> str:
    name = f"<alias name='{alias}'/>" if alias else ""
    target = f"<target><size unit='MiB'>{size}</size><node>1</node></target>"
    return f"<memory model='{model}'>{target}{name}{address}</memory>"


def dimm(slot: int) -> str:
    return f"<address type='dimm' slot='{slot}' base='0x100000000'/>"


def test_machine_and_cpu_are_told() -> None:
    found = domain(
        "<vcpu current='2'>4</vcpu><cpu mode='custom'><model>qemu64</model></cpu>"
        "<features><acpi/><smm state='off'/><vmport state='on'/></features>"
        "<clock><timer name='hpet' present='no'/></clock>"
        "<devices><emulator>/usr/bin/qemu</emulator><tpm model='tpm-crb'/></devices>"
    )
    assert (found.arch, found.machine, found.emulator) == ("x86_64", "pc-q35-9.2", "/usr/bin/qemu")
    assert (found.vcpus, found.max_vcpus) == (2, 4)
    assert found.cpu == DomainCpu("custom", "qemu64")
    assert found.features == DomainFeatures(acpi=True, smm=False, vmport=True, hpet=False)
    assert found.tpm is not None
    assert found.tpm.model == "tpm-crb"
    assert found.tells_devices


def test_what_is_not_said_is_none() -> None:
    found = domain()
    assert found.features == DomainFeatures(acpi=False, smm=None, vmport=None, hpet=None)
    assert (found.cpu, found.loader, found.tpm, found.max_memory) == (None, None, None, None)
    assert (found.memory, found.total_memory, found.vcpus) == (None, None, 1)
    assert not found.has_nvram
    assert not found.tells_devices


def test_memory_is_what_is_left_without_the_devices() -> None:
    devices = f"<devices>{memory('dimm', 128, dimm(0))}</devices>"
    found = domain(f"<maxMemory slots='4' unit='MiB'>512</maxMemory><memory unit='MiB'>192</memory>"
                   f"{devices}")  # fmt: skip
    assert (found.memory, found.total_memory) == (64 * MIB, 192 * MIB)
    assert found.max_memory == MaxMemory(512 * MIB, 4)
    less = domain(f"<memory unit='MiB'>128</memory>{devices}")
    assert less.memory is None


def test_cells_are_the_memory() -> None:
    cells = "<cpu><numa><cell memory='64' unit='MiB'/><cell memory='1024'/></numa></cpu>"
    found = domain(f"<memory unit='MiB'>65</memory>{cells}")
    assert found.numa_cells == (64 * MIB, MIB)
    assert found.memory == 65 * MIB


def test_memory_devices_name_their_blocks_as_libvirt_does() -> None:
    """Names as libvirt 9.0 and QEMU 10.0 had them: tests/interop/test_libvirt_devices.py."""
    at = "<address type='pci' bus='0' slot='5' function='0'/>"
    found = domain(
        "<devices>" + memory("nvdimm", 128, dimm(0)) + memory("dimm", 128, dimm(3))
        + memory("virtio-mem", 64, at) + memory("virtio-pmem", 64) + memory("dimm", 1)
        + memory("dimm", 1, alias="ua-mine") + "</devices>"
    )  # fmt: skip
    assert [one.block for one in found.memory_devices] == [
        "memnvdimm0", "memdimm3", "0000:00:05.0/memvirtiomem0", None, None, "memua-mine",
    ]  # fmt: skip
    first = found.memory_devices[0]
    assert (first.size, first.slot, first.address, first.node) == (128 * MIB, 0, 1 << 32, 1)
    assert first.xml_path == "devices/memory[1]"
