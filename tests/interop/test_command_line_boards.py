"""Boards that are no PC: whether a real QEMU receives an image by the command derived of it.

The configurations are those of restores.toml and some with devices that it has not; of libvirt
saves the domains are those of test_libvirt_devices.py.
"""

from __future__ import annotations

import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.commandline import command_line
from fixedram_fmt.errors import FixedRamError
from qemu_vm import require_qemu
from support.restores import groups, load, save
from support.virsh import driver, saved

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.slow, pytest.mark.untraced]

_X86 = "x86_64"
GROUPS = {name: group for name, group in groups().items() if group.arch != _X86}
_BACKENDS = (
    "-accel tcg -S -blockdev null-co,node-name=d,size=1048576 -chardev null,id=c"
    " -audiodev none,id=a -blockdev null-co,node-name=flash,size=67108864"
)
_VIRT = "aarch64 -machine virt -cpu cortex-a57 -m 16M"
#: Architecture and arguments, by what they are for.
OTHERS = {
    "arm backend": "aarch64 -machine virt,memory-backend=m0 -m 16M -cpu max"
    " -object memory-backend-ram,id=m0,size=16M",
    "arm blk": f"{_VIRT} -device virtio-blk-device,drive=d",
    "arm dimm": f"{_VIRT},slots=2,maxmem=1G -machine pflash0=flash"
    " -object memory-backend-ram,id=m1,size=16M -device pc-dimm,memdev=m1",
    "arm gic-4": "aarch64 -machine virt,gic-version=4,virtualization=on -cpu max -m 16M",
    "arm memory tags": "aarch64 -machine virt,mte=on -cpu max -m 16M",
    "arm root port": f"{_VIRT} -device pcie-root-port,id=r,chassis=1"
    " -device virtio-net-pci,bus=r,romfile=",
    "arm secure and virtualization": f"{_VIRT} -machine secure=on,virtualization=on",
    "arm serial": f"{_VIRT} -device virtio-serial-device -device virtconsole,chardev=c",
    "arm two uarts": f"{_VIRT} -serial null -serial null",
    "arm usb": f"{_VIRT} -device qemu-xhci -device usb-kbd",
    "avr": "avr -machine mega2560",
    "opentitan": "riscv32 -machine opentitan",
    "openrisc": "or1k -machine virt",
    "pegasos2": "ppc -machine pegasos2,audiodev=a",
    "powernv10": "ppc64 -machine powernv10",
    "pseries host bridge": "ppc64 -machine pseries -m 256M -device spapr-pci-host-bridge,index=1",
    "pseries nested": "ppc64 -machine pseries,cap-nested-hv=on -m 256M -cpu power9",
    "pseries scsi": "ppc64 -machine pseries -m 256M -device spapr-vscsi -device scsi-hd,drive=d",
    "riscv bare": "riscv64 -machine virt -cpu rv64i -m 16M",
    "riscv guests": "riscv64 -machine virt,aia=aplic-imsic,aia-guests=2 -m 16M",
    "s390x console": "s390x -machine s390-ccw-virtio -m 16M -device sclpconsole,chardev=c",
    "s390x scsi": "s390x -machine s390-ccw-virtio -m 16M -device virtio-scsi-ccw"
    " -device scsi-hd,drive=d",
    "s390x serial": "s390x -machine s390-ccw-virtio -m 16M -device virtio-serial-ccw"
    " -device virtserialport,chardev=c,name=a",
    "s390x watchdog": "s390x -machine s390-ccw-virtio -m 16M -device diag288",
    "sam460ex": "ppc -machine sam460ex",
    "sbsa-ref": "aarch64 -machine sbsa-ref -m 64M",
    "versatile": "arm -machine versatilepb,audiodev=a",
}
#: What is not received, and why.  What is has to go from here.
KNOWN = {
    "arm lm3s6965evb": "QEMU 10.0 dies of its SD card in a VM of the same arguments, too",
    "s390x serial": "where ports are in what virtio-ccw saves is not read",
}
#: Architectures whose programs' names an image may leave open: both have the machine.
_EITHER = {"arm": ("arm", "aarch64"), "ppc": ("ppc", "ppc64")}


def received(arch: str, args: Sequence[str], image: Path) -> str:
    """How the load of a VM's save ended; what was not accounted for, if anything."""
    require_qemu(arch)
    save(arch, args, image)
    try:
        with Image.open(image) as opened:
            derived = command_line(opened)
    except FixedRamError as error:
        return str(error)
    program = derived.argv[0].removeprefix("qemu-system-")
    assert program in _EITHER.get(arch, (arch,))
    unclaimed = [one for one in derived.uncertain if one.startswith("no argument here brings")]
    loaded = load(program, ("-accel", "tcg", "-S", *derived.vm), image)
    image.unlink()
    if loaded.status == "completed":
        return "completed"
    return f"{loaded.status} {loaded.lines[:2]} {unclaimed} {derived}"


@pytest.mark.parametrize("name", GROUPS)
def test_qemu_receives_a_board_by_the_command_derived_of_it(name: str, tmp_path: Path) -> None:
    group = GROUPS[name]
    with ThreadPoolExecutor(2) as workers:
        runs = {
            one: workers.submit(received, group.arch, args, tmp_path / one)
            for one, args in group.variants.items()
        }
        ended = {one: run.result() for one, run in runs.items()}
    failed = {f"{name} {one}": said for one, said in ended.items() if said != "completed"}
    assert {*failed} == {one for one in KNOWN if one in {f"{name} {each}" for each in ended}}, (
        failed
    )


def test_qemu_receives_other_boards_and_devices(tmp_path: Path) -> None:
    def run(name: str) -> str:
        arch, *args = shlex.split(OTHERS[name])
        return received(arch, [*shlex.split(_BACKENDS), *args], tmp_path / name.replace(" ", "-"))

    with ThreadPoolExecutor(2) as workers:
        ended = dict(zip(OTHERS, workers.map(run, OTHERS), strict=True))
    failed = {name: said for name, said in ended.items() if said != "completed"}
    assert {*failed} == {*KNOWN} & {*OTHERS}, failed


#: Started as people do, with the network, ports and drives that QEMU adds.
WITH_DEFAULTS = {
    "arduino": "avr -machine mega",
    "bamboo": "ppc -machine bamboo -m 64M",
    "cubieboard": "arm -machine cubieboard -m 512M",
    "mps2": "arm -machine mps2-an385",
    "powernv9": "ppc64 -machine powernv9 -m 1G",
    "raspi3b": "aarch64 -machine raspi3b",
    "sbsa-ref": "aarch64 -machine sbsa-ref -m 64M",
    "versatilepb": "arm -machine versatilepb,audiodev=a -m 64M",
    "vexpress": "arm -machine vexpress-a9,audiodev=a -m 64M",
    "vexpress without a backend": "arm -nodefaults -machine vexpress-a9,audiodev=a -m 64M"
    " -nic hubport,hubid=1",
    "zynq": "arm -machine xilinx-zynq-a9 -m 64M",
}


@pytest.mark.parametrize("name", WITH_DEFAULTS)
def test_qemu_receives_a_board_that_has_default_devices(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qemu_vm._BASE_ARGS", ("-display", "none", "-vga", "none"))
    arch, *args = shlex.split(WITH_DEFAULTS[name])
    backends = ("-accel", "tcg", "-S", "-audiodev", "none,id=a")
    assert received(arch, [*backends, *args], tmp_path / "image") == "completed"


# -- libvirt saves ---------------------------------------------------------------------------------

_DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
    "<source file='{{root}}/disk.img'/><target dev='{}' bus='{}'/><shareable/></disk>"
)
_DOMAIN = """\
<domain type='qemu'>
  <name>fx</name>
  {before}
  <os><type arch='x86_64' machine='{machine}'>hvm</type></os>
  <devices><emulator>{{qemu}}</emulator>{devices}</devices>
</domain>
"""
_MEMORY = "<memory unit='MiB'>32</memory>"
DOMAINS = {
    "disks of q35": _DOMAIN.format(
        before=f"{_MEMORY}<vcpu current='2'>4</vcpu><features><acpi/><apic/><smm state='on'/>"
        "<vmport state='off'/></features><cpu mode='custom' match='exact'><model>Nehalem</model>"
        "<feature policy='disable' name='popcnt'/></cpu>"
        "<clock offset='utc'><timer name='hpet' present='no'/></clock>",
        machine="pc-q35-9.2",
        devices=_DISK.format("vda", "virtio")
        + _DISK.format("sda", "sata")
        + _DISK.format("sdb", "scsi")
        + _DISK.format("sdc", "usb")
        + "<controller type='scsi' model='virtio-scsi'/>"
        "<controller type='usb' model='qemu-xhci'/><input type='keyboard' bus='usb'/>"
        "<disk type='file' device='cdrom'><target dev='sdd' bus='sata'/><readonly/></disk>"
        "<serial type='null'/><channel type='unix'><target type='virtio' name='org.qemu.a,b'/>"
        "</channel><video><model type='vga' vram='32768'/></video><sound model='ich9'/>"
        "<panic model='isa'/>",
    ),
    "disks of pc": _DOMAIN.format(
        before=f"{_MEMORY}<features><acpi/></features>",
        machine="pc-i440fx-9.2",
        devices=_DISK.format("hda", "ide")
        + _DISK.format("vda", "virtio")
        + "<disk type='file' device='floppy'><source file='{root}/disk.img'/>"
        "<target dev='fda' bus='fdc'/><shareable/></disk><serial type='null'/>"
        "<parallel type='null'/><console type='null'><target type='virtio'/></console>"
        "<video><model type='virtio'/></video><sound model='es1370'/>"
        "<input type='mouse' bus='usb'/><interface type='user'><model type='virtio'/></interface>",
    ),
    "dimms": _DOMAIN.format(
        before="<maxMemory slots='4' unit='MiB'>1024</maxMemory><memory unit='MiB'>192</memory>"
        "<features><acpi/></features>"
        "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>",
        machine="pc-q35-9.2",
        devices="<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target>"
        "</memory>",
    ),
    "bridges": _DOMAIN.format(
        before=f"{_MEMORY}<features><acpi/></features>",
        machine="pc-q35-9.2",
        devices="<controller type='pci' model='pcie-root'/>"
        "<controller type='pci' index='1' model='pcie-expander-bus'><target busNr='64'/>"
        "</controller><controller type='pci' index='2' model='pcie-root-port'>"
        "<address type='pci' bus='1' slot='0'/></controller>"
        "<controller type='pci' index='3' model='dmi-to-pci-bridge'/>"
        "<controller type='pci' index='4' model='pci-bridge'/>"
        "<controller type='usb' model='ich9-ehci1'/><controller type='usb' model='ich9-uhci1'/>"
        "<interface type='user'><model type='virtio'/><address type='pci' bus='2' slot='0'/>"
        "</interface><interface type='user'><model type='rtl8139'/><rom bar='off'/>"
        "<address type='pci' bus='4' slot='1'/></interface><watchdog model='i6300esb'/>",
    ),
}

_OTHER = """\
<domain type='qemu'>
  <name>fx</name>
  <memory unit='MiB'>256</memory>
  <vcpu>2</vcpu>
  <os><type arch='{arch}' machine='{machine}'>hvm</type></os>
  <devices><emulator>{emulator}</emulator><serial type='null'/>
    <interface type='user'><model type='virtio'/></interface>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
"""
#: Machines that are no PC, by architecture.
MACHINES = {"ppc64": "pseries-9.2", "riscv64": "virt"}


def other_domains() -> dict[str, str]:
    """A domain for each of MACHINES."""
    return {
        arch: _OTHER.format(arch=arch, machine=machine, emulator=shutil.which(require_qemu(arch)))
        for arch, machine in MACHINES.items()
    }


def test_qemu_receives_a_libvirt_save_by_the_command_derived_of_its_xml(tmp_path: Path) -> None:
    failed = {}
    with driver() as root:
        (root / "disk.img").write_bytes(bytes(1 << 20))
        for name, xml in {**DOMAINS, **other_domains()}.items():
            image = tmp_path / "asked.save"
            image.write_bytes(saved(root, xml).save)
            with Image.open(image) as opened:
                derived = command_line(opened)
                offset = opened.container.stream_offset
            assert derived.incoming == ("-incoming", f"file:{image},offset={offset}")
            arguments = ("-accel", "tcg", "-S", *derived.vm)
            program = derived.argv[0].removeprefix("qemu-system-")
            loaded = load(program, arguments, image, offset, capabilities=())
            if loaded.status != "completed":
                failed[name] = (loaded.lines, str(derived))
    assert not failed
