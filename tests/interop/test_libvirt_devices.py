"""virsh restore is the judge of devices: domains are saved, their XML is edited, and restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.container.domain import domain_of
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.validation.report import Question, ask
from support.saves import edited
from support.virsh import Virsh, driver, saved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

_DOMAIN = """\
<domain type='qemu'>
  <name>fx</name>
  {before}
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='{machine}'>hvm</type></os>
  <features><acpi/></features>
  <devices><emulator>{{qemu}}</emulator>{devices}</devices>
</domain>
"""
_MEMORY = "<memory unit='MiB'>32</memory>"
_RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
_BOTH = f"""
  <controller type='scsi' model='virtio-scsi'/>
  <controller type='virtio-serial'/>
  <interface type='user'><model type='virtio'/></interface>
  <interface type='user'><model type='e1000'/></interface>
  <input type='tablet' bus='usb'/>
  <input type='tablet' bus='virtio'/>
  {_RNG}
  <watchdog model='i6300esb'/>
  <memballoon model='virtio'/>
"""
_DIMM = "<target><size unit='MiB'>128</size><node>0</node></target>"
DOMAINS = {
    "pc": _DOMAIN.format(
        before=_MEMORY,
        machine="pc-i440fx-9.2",
        devices=_BOTH + "<controller type='scsi' index='1' model='lsilogic'/>"
        "<interface type='user'><model type='rtl8139'/></interface>"
        "<video><model type='cirrus'/></video><sound model='ac97'/>",
    ),
    "q35": _DOMAIN.format(
        before=_MEMORY,
        machine="pc-q35-9.2",
        devices=_BOTH + "<controller type='usb' model='ich9-ehci1'/>"
        "<controller type='usb' model='ich9-uhci1'/>"
        "<interface type='user'><model type='e1000e'/></interface>"
        "<video><model type='virtio'/></video><sound model='ich9'/>",
    ),
    "expanders": _DOMAIN.format(
        before=_MEMORY,
        machine="pc-q35-9.2",
        devices="<controller type='pci' model='pcie-root'/>"
        "<controller type='pci' index='1' model='pcie-expander-bus'><target busNr='64'/>"
        "</controller><controller type='pci' index='2' model='pcie-root-port'>"
        "<address type='pci' bus='1' slot='0'/></controller>"
        "<controller type='pci' index='3' model='pcie-switch-upstream-port'/>"
        "<controller type='pci' index='4' model='pcie-switch-downstream-port'/>"
        "<controller type='pci' index='5' model='dmi-to-pci-bridge'/>"
        "<controller type='pci' index='6' model='pci-bridge'/>"
        "<interface type='user'><model type='virtio'/><address type='pci' bus='4' slot='0'/>"
        "</interface><interface type='user'><model type='vmxnet3'/>"
        "<address type='pci' bus='6' slot='1'/></interface><memballoon model='none'/>",
    ),
    "pxb": _DOMAIN.format(
        before=_MEMORY,
        machine="pc-i440fx-9.2",
        devices="<controller type='pci' index='1' model='pci-expander-bus'>"
        "<target busNr='128'/></controller><interface type='user'><model type='virtio'/>"
        "<address type='pci' bus='1' slot='3'/></interface><memballoon model='none'/>",
    ),
    "dimms": _DOMAIN.format(
        before="<maxMemory slots='4' unit='MiB'>1024</maxMemory><memory unit='MiB'>384</memory>"
        "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>",
        machine="pc-q35-9.2",
        devices=f"<memory model='dimm'>{_DIMM}</memory><memory model='dimm'>{_DIMM}</memory>"
        "<memory model='virtio-mem'><target><size unit='MiB'>64</size><node>0</node>"
        "<block unit='MiB'>2</block><requested unit='MiB'>2</requested></target></memory>"
        "<memballoon model='none'/>",
    ),
}


def _dropped(kind: str, tells: str = "") -> tuple[str, str]:
    """An edit that takes out the first element of a kind that says this."""
    inside = f"(?:(?!</{kind}>).)*"
    return f"<{kind}(?: [^>]*)?>{inside}{tells}{inside}</{kind}>", ""


def _added(element: str) -> tuple[str, str]:
    return "</devices>", element + "</devices>"


#: Edits of XML as virsh save-image-edit makes them: (pattern, replacement), one after the other.
EDITS: dict[str, dict[str, list[tuple[str, str]]]] = {
    "pc": {
        "as saved": [],
        "interface in another slot": [("slot='0x03'", "slot='0x11'")],
        "interface in another function": [("slot='0x03' function='0x0'",
                                           "slot='0x03' function='0x1'")],
        "no ROM bar": [("(<interface type='user'>)", r"\1<rom bar='off'/>")],
        "no ROM": [("(<interface type='user'>)", r"\1<rom enabled='no'/>")],
        "e1000 for rtl8139": [("'rtl8139'", "'e1000'")],
        "virtio for e1000": [("'e1000'", "'virtio'")],
        "slots exchanged": [("slot='0x03'(.*?)slot='0x04'", r"slot='0x04'\1slot='0x03'")],
        "address gone": [("(<rng.*?)<address type='pci'[^>]*>", r"\1")],
        "no virtio-serial": [(r"<controller type='virtio-serial'.*?</controller>", "")],
        "no lsilogic": [(r"<controller type='scsi' index='1'.*?</controller>", "")],
        "no rng": [_dropped("rng")],
        "no sound": [_dropped("sound")],
        "no watchdog": [_dropped("watchdog")],
        "balloon is added again": [_dropped("memballoon")],
        "no balloon": [_dropped("memballoon"), _added("<memballoon model='none'/>")],
        "vga for cirrus": [("type='cirrus'", "type='vga'")],
        "rng added": [_added(_RNG.replace("</rng>", "<address type='pci' slot='0x1a'/></rng>"))],
        "rng added without a place": [_added(_RNG)],
        "another controller of USB": [_added("<controller type='usb' index='0' model='nec-xhci'>"
                                             "<address type='pci' slot='0x1a'/></controller>")],
    },
    "q35": {
        "as saved": [],
        "interface at another port": [("bus='0x02' slot='0x00'", "bus='0x0c' slot='0x00'"),
                                      _added("<controller type='pci' index='12' "
                                             "model='pcie-root-port'><address type='pci' "
                                             "slot='0x09'/></controller>")],
        "root port moved": [("slot='0x02' function='0x5'", "slot='0x09' function='0x0'")],
        "another root port": [("<model name='pcie-root-port'/>", "<model name='ioh3420'/>")],
        "virtio for e1000e": [("'e1000e'", "'virtio'")],
        "no uhci": [(r"<controller type='usb' index='0' model='ich9-uhci1'.*?</controller>", "")],
    },
    "expanders": {
        "as saved": [],
        "another number": [("busNr='64'", "busNr='65'")],
        "expander moved": [("(pcie-expander-bus'>.*?)slot='0x..'", r"\1slot='0x09'")],
        "no interface": [_dropped("interface", "vmxnet3")],
    },
    "pxb": {
        "as saved": [],
        "another number": [("busNr='128'", "busNr='96'")],
        "no interface": [_dropped("interface")],
    },
    "dimms": {
        "as saved": [],
        "no dimm": [("<memory model='dimm'.*?</memory>", ""), (">393216<", ">262144<")],
        "no dimm, memory stays": [("<memory model='dimm'.*?</memory>", "")],
        "another slot": [("type='dimm' slot='1'", "type='dimm' slot='3'")],
        "no virtio-mem": [("<memory model='virtio-mem'.*?</memory>", ""), (">393216<", ">327680<")],
        "dimm added, memory stays": [
            _added(f"<memory model='dimm'>{_DIMM}<address type='dimm' slot='2'/></memory>"),
            (">393216<", ">131072<"),
        ],
    },
}  # fmt: skip


#: Where what is said first is another thing: the video memory has its name in both, and another
#: length, which no rule foresees.
_SAID_OTHERWISE = {"vga for cirrus"}


@pytest.fixture(scope="module")
def saves() -> Iterator[dict[str, Virsh]]:
    """A save of each domain."""
    with driver() as root:
        yield {name: saved(root, xml) for name, xml in DOMAINS.items()}


@pytest.mark.parametrize(
    ("name", "edit"), [(name, edit) for name, edits in EDITS.items() for edit in edits]
)
def test_verdict_on_edited_devices_is_what_virsh_does(
    name: str, edit: str, saves: dict[str, Virsh], tmp_path: Path
) -> None:
    data = edited(saves[name].save, EDITS[name][edit])
    path = tmp_path / "asked.save"
    path.write_bytes(data)
    report = ask(str(path), Question("libvirt-9.0"))
    outcome, text = saves[name].restore(data)
    assert report.verdict is outcome, text
    if outcome is Outcome.REFUSES and edit not in _SAID_OTHERWISE:
        assert report.message in text
    if edit == "as saved":
        assert not {one.rule for one in report.findings if one.rule[0] == "C"}


@pytest.mark.parametrize("name", DOMAINS)
def test_every_pci_section_of_a_save_is_a_device_with_a_name_of_its_model(
    name: str, saves: dict[str, Virsh], tmp_path: Path
) -> None:
    """Nothing about them is unknown: each device that has a place has its section there."""
    path = tmp_path / "asked.save"
    path.write_bytes(saves[name].save)
    with Image.open(path) as image:
        sections = {section.name for section in image.sections}
    domain = domain_of(saves[name].save[92:].partition(b"\0")[0])
    placed = [device for device in domain.devices if device.path and device.names]
    assert len(placed) > 1
    for device in placed:
        assert any(f"{device.path}/{one}" in sections for one in device.names), device
    blocks = {device.block for device in domain.memory_devices}
    with Image.open(path) as image:
        assert blocks <= {block.name for block in image.blocks}
