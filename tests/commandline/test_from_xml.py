"""Command lines by libvirt's XML: what is taken from it, and that nothing more is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import pytest

from fixedram_fmt.commandline import command_line
from fixedram_fmt.commandline.draft import Draft
from fixedram_fmt.commandline.evidence import Evidence
from fixedram_fmt.commandline.fromxml import contribute
from support.builders import open_bytes
from support.containers import libvirt
from support.machines import machine

if TYPE_CHECKING:
    from fixedram_fmt import Image

DOMAIN = """\
<domain type='{kind}'><name>fx</name>{before}<memory unit='MiB'>32</memory>
<os><type arch='{arch}' machine='{machine}'>hvm</type></os><features>{features}</features>
<devices><emulator>/usr/bin/evil</emulator>{devices}</devices></domain>
"""


def open_save(xml: bytes) -> Image:
    """A save with this XML, of a pc."""
    with machine() as inner:
        stream = inner.source.read_exact(0, inner.source.size)
    return open_bytes(libvirt(xml=xml + b"\0") + stream)


def derived(
    devices: str = "",
    *,
    machine_type: str = "pc-q35-9.2",
    before: str = "",
    features: str = "<acpi/>",
    arch: str = "x86_64",
    kind: str = "qemu",
) -> Draft:
    """What a domain with these devices becomes."""
    xml = DOMAIN.format(
        devices=devices,
        machine=machine_type,
        before=before,
        features=features,
        arch=arch,
        kind=kind,
    )
    with open_save(xml.encode()) as image:
        draft = Draft()
        assert contribute(Evidence(image), draft), draft.uncertain
    return draft


PORT = (
    "<controller type='pci' index='{0}' model='pcie-root-port'>"
    "<target chassis='{0}' port='0x1{0}'/>"
)
ROOT = "<controller type='pci' index='0' model='pcie-root'/>"


def at(slot: int, bus: int = 0) -> str:
    return f"<address type='pci' bus='{bus:#x}' slot='{slot:#x}' function='0x0'/>"


@pytest.mark.parametrize(
    ("devices", "device"),
    [
        (f"{ROOT}{PORT.format(1)}{at(2)}</controller>",
         "pcie-root-port,id=pci.1,bus=pcie.0,addr=0x2,port=17,chassis=1"),
        (f"{ROOT}{PORT.format(1)}{at(2)}</controller><rng model='virtio'>{at(0, 1)}</rng>",
         "virtio-rng-pci,id=rng0,bus=pci.1,addr=0x0"),
        (f"<memballoon model='virtio-non-transitional' autodeflate='on'>{at(3)}</memballoon>",
         "virtio-balloon-pci-non-transitional,id=balloon0,deflate-on-oom=on,bus=pcie.0,addr=0x3"),
        (f"<video><model type='vga' vram='16384'/>{at(1)}</video>",
         "VGA,id=video0,bus=pcie.0,addr=0x1,vgamem_mb=16"),
        (f"<interface type='user'><mac address='52:54:00:00:00:01'/><model type='e1000'/>"
         f"<rom bar='off'/>{at(4)}</interface>",
         "e1000,id=net0,mac=52:54:00:00:00:01,bus=pcie.0,addr=0x4,rombar=0"),
        (f"<interface type='user'><model type='virtio'/><driver queues='4' rx_queue_size='512'/>"
         f"<rom enabled='no'/>{at(4)}</interface>",
         "virtio-net-pci,rx_queue_size=512,mq=on,vectors=10,id=net0,bus=pcie.0,addr=0x4,romfile="),
        ("<input type='tablet' bus='usb'><address type='usb' bus='0' port='1.2'/></input>",
         "usb-tablet,id=input0,bus=usb.0,port=1.2"),
        ("<serial type='pty'><target type='isa-serial' port='1'/></serial>",
         "isa-serial,id=serial0,chardev=char0,index=1"),
        ("<disk type='file' device='cdrom'><target dev='sda' bus='sata'/>"
         "<address type='drive' controller='0' bus='0' target='0' unit='2'/></disk>",
         "ide-cd,id=sata-disk0,bus=ide.2"),
        ("<memory model='dimm'><target><size unit='MiB'>16</size><node>0</node></target>"
         "<address type='dimm' slot='1'/></memory>",
         "pc-dimm,id=dimm1,memdev=memdimm1,node=0,slot=1"),
        ("<panic model='isa'/>", "pvpanic"),
        ("<rng model='virtio'><alias name='ua-mine'/></rng>", "virtio-rng-pci,id=ua-mine"),
    ],
)  # fmt: skip
def test_a_device_of_the_xml_becomes_one_of_qemu(devices: str, device: str) -> None:
    assert device in derived(devices).devices


def test_the_machine_is_what_the_xml_says() -> None:
    draft = derived(
        before="<vcpu current='2'>4</vcpu><cpu mode='custom'><model>Nehalem</model>"
        "<topology sockets='2' cores='2' threads='1'/><feature policy='disable' name='popcnt'/>"
        "<feature policy='require' name='pclmuldq'/></cpu>",
        features="<acpi/><smm state='on'/><vmport state='off'/>",
    )
    assert draft.program == "qemu-system-x86_64"
    assert draft.machine == {"usb": "off", "vmport": "off", "smm": "on"}
    assert draft.cpu == "Nehalem,popcnt=off,pclmulqdq=on"
    assert draft.smp == "2,maxcpus=4,sockets=2,cores=2,threads=1"
    assert draft.memory == "32M"


def test_what_the_xml_leaves_out_is_off() -> None:
    assert derived(features="").machine["acpi"] == "off"


def test_the_accelerator_is_that_of_the_domain() -> None:
    assert ("-accel", "kvm") in derived(kind="kvm").others
    assert not [one for one in derived().others if one[0] == "-accel"]


def test_numa_cells_have_cpus_and_memory() -> None:
    cells = "<cpu><numa><cell id='0' cpus='0-1,3' memory='16' unit='MiB'/></numa></cpu>"
    assert ("-numa", "node,nodeid=0,cpus=0-1,cpus=3,mem=16M") in derived(before=cells).others


# -- what an attacker wrote ------------------------------------------------------------------------

EVIL = [
    "a,b=c", "x,file=/etc/shadow", "-incoming", "--help", "exec:touch /tmp/owned", "a\nb", "\x85",
    "/etc/shadow", "../../etc/passwd", "id=x", "$(reboot)", "a" * 500, "", " ", "\u202e", "%n",
    "0x" + "f" * 40, "-1", "99999999999999999999", "on,driver=vfio-pci",
]  # fmt: skip
#: {} is where the attacker's words stand.
PLACES = [
    "<rng model={0}><alias name={0}/></rng>",
    "<interface type='user'><mac address={0}/><model type={0}/><mtu size={0}/></interface>",
    "<interface type={0}><model type='virtio'/><driver queues={0} rx_queue_size={0}/></interface>",
    "<interface type='ethernet'><script path={0}/><model type='e1000'/><rom file={0}/></interface>",
    "<disk type='file' device={0}><source file={0}/><target dev={0} bus='virtio'/></disk>",
    "<disk type={0} device='disk'><source dev={0}/><target dev='sda' bus={0}/></disk>",
    "<disk type='network' device='disk'><source protocol={0} name={0}/><target bus='scsi'/></disk>",
    "<serial type='file'><source path={0}/><target type={0} port={0}/></serial>",
    "<serial type='tcp'><source host={0} service={0}/><target type='isa-serial'/></serial>",
    "<channel type='unix'><source path={0}/><target type='virtio' name={0}/></channel>",
    "<console type='pipe'><source path={0}/><target type='virtio' port={0}/></console>",
    "<controller type='usb' model={0} index={0}/><controller type={0} index='1'/>",
    "<controller type='pci' index='1' model='pcie-root-port'><model name={0}/>"
    "<target chassis={0} port={0} busNr={0} hotplug={0}/></controller>",
    "<video><model type={0} vram={0} heads={0} primary={0}/></video>",
    "<sound model={0}><codec type={0}/></sound>",
    "<sound model='ich9'><codec type={0}/><alias name={0}/></sound>",
    "<input type={0} bus='usb'><address type='usb' bus={0} port={0}/></input>",
    "<memory model={0}><alias name={0}/></memory>",
    "<memory model='dimm'><alias name={0}/><target><size unit={0}>16</size></target></memory>",
    "<watchdog model={0}/><panic model={0}/><iommu model={0}/><memballoon model={0}/>",
    "<hostdev mode='subsystem' type={0}><source><address uuid={0}/></source></hostdev>",
    "<filesystem type='mount'><source dir={0}/><target dir={0}/></filesystem>",
    "<tpm model={0}><backend type={0}><device path={0}/></backend></tpm>",
    "<shmem name={0}><model type={0}/></shmem><vsock model={0}/><crypto model={0}/>",
    "<rng model='virtio'><address type='pci' bus={0} slot={0} function={0} multifunction={0}/>"
    "</rng>",
    "<rng model='virtio'><address type='ccw' cssid={0} ssid={0} devno={0}/></rng>",
]
#: Options that an argument list may have here, and what their values may begin with.
OPTIONS = frozenset({
    "-nodefaults", "-no-user-config", "-display", "-vga", "-machine", "-cpu", "-smp", "-m",
    "-object", "-global", "-blockdev", "-netdev", "-chardev", "-audiodev", "-device", "-numa",
    "-accel", "-bios", "-serial",
})  # fmt: skip
#: Backends that touch nothing of the host.
HARMLESS = {
    "-blockdev": ("driver=null-co,",),
    "-chardev": ("null,",),
    "-netdev": ("user,", "tap,id=net"),
    "-audiodev": ("none,",),
    "-object": ("memory-backend-ram,", "cryptodev-backend-builtin,", "rng-builtin,"),
}


def keys_of(value: str) -> list[str]:
    """The names of the properties in a value, as QemuOpts reads it: a doubled comma is none."""
    parts = value.replace(",,", "\0").split(",")
    return [part.partition("=")[0] for part in parts[1:]]


def assert_harmless(draft: Draft, evil: str) -> None:
    """No option, no property and no backend is of the attacker's making."""
    words = draft.arguments()
    pairs = [(one, words[number + 1]) for number, one in enumerate(words[:-1])]
    for option, value in pairs:
        if option not in OPTIONS or option in ("-nodefaults", "-no-user-config"):
            continue
        assert "\n" not in value
        assert not value.startswith("-")
        begins = HARMLESS.get(option)
        assert begins is None or value.startswith(begins), value
        for key in keys_of(value):
            assert key.replace("-", "").replace("_", "").replace("+", "").isalnum(), value
            assert key not in ("file", "filename", "driver", "path", "script") or begins, value
    for value in draft.devices:
        driver = value.partition(",")[0]
        assert driver.replace("-", "").replace("_", "").isalnum(), value
        assert "file" not in keys_of(value)
        assert "romfile=" not in value.replace(",,", "") or "romfile=," in f"{value},"
    assert draft.program == "qemu-system-x86_64"
    if len(evil) > 3 and "/" in evil and "," not in evil:
        # As the name of a port it is a value; nothing else may have it.
        holders = [one for one in words if evil in one]
        assert all(f"name={evil}" in one for one in holders), holders


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_words_of_an_attacker_are_values_and_name_no_file(place: str) -> None:
    for evil in EVIL:
        if "\x85" in evil or any(ord(one) < 32 for one in evil):
            value = quoteattr(evil, {"\n": "&#10;", "\x85": "&#133;"})
        else:
            value = quoteattr(evil)
        assert_harmless(derived(place.format(value)), evil)


@pytest.mark.slow
@pytest.mark.parametrize("evil", [one for one in EVIL if "\n" not in one])
def test_machine_cpu_and_memory_of_an_attacker_are_values(evil: str) -> None:
    value = quoteattr(evil)
    before = (
        f"<vcpu current={value}>{'9' * 12}</vcpu><cpu mode={value}><model>{'x,y=z'}</model>"
        f"<topology sockets={value} cores={value}/><feature name={value} policy={value}/>"
        f"<numa><cell id={value} cpus={value} memory={value} unit={value}/></numa></cpu>"
        f"<maxMemory slots={value} unit={value}>1</maxMemory><genid>{'a'}</genid>"
    )
    features = f"<acpi/><gic version={value}/><smm state={value}/><vmport state={value}/>"
    assert_harmless(derived(before=before, features=features), evil)


def test_a_machine_that_is_no_word_is_not_taken() -> None:
    xml = DOMAIN.format(
        devices="", machine="pc,accel=x", before="", features="", arch="x86_64", kind="qemu"
    )
    with open_save(xml.encode()) as image:
        assert not contribute(Evidence(image), Draft())


def test_arguments_of_the_users_own_are_not_taken() -> None:
    own = (
        "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        "<qemu:arg value='-drive'/><qemu:arg value='file=/dev/sda'/></qemu:commandline>"
    )
    draft = derived(before=own)
    assert not any("/dev/sda" in one for one in draft.arguments())
    assert any("of the user's own" in one for one in draft.uncertain)


@pytest.mark.slow
@pytest.mark.parametrize(
    "devices",
    [
        "<rng model='virtio'/>" * 20_000,
        "<disk device='disk'><target dev='vda' bus='virtio'/></disk>" * 6000,
        "<memory model='dimm'><target><size>16</size></target></memory>" * 5000,
        "".join(f"<controller type='pci' index='{one}' model='pci-bridge'>{at(1, one % 256)}"
                "</controller>" for one in range(3000)),
    ],
    ids=["rngs", "disks", "dimms", "bridges"],
)  # fmt: skip
@pytest.mark.untraced
def test_crowds_of_devices_are_derived_soon_and_not_without_end(devices: str) -> None:
    start = time.monotonic()
    draft = derived(devices)
    assert len(draft.devices) <= 4200
    assert len(draft.sentences()) < 300
    assert time.monotonic() - start < 20


def test_a_save_without_an_xml_is_derived_by_its_state() -> None:
    with open_save(b"<domain") as image:
        derived_line = command_line(image)
    assert derived_line.argv[0].startswith("qemu-system-")
    assert any("XML of the save is not used" in one for one in derived_line.uncertain)
