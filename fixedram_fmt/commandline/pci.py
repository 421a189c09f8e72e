"""PCI functions as -device arguments: buses before what sits on them, each at its place.

Upstream: QEMU hw/pci/pci.c pcibus_get_dev_path(), by which sections are called; hw/pci-bridge/
pci_expander_bridge.c pxb_dev_realize_common(), whose bus has the id of its device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline import virtio
from fixedram_fmt.commandline.cards import NETWORK, card_properties
from fixedram_fmt.commandline.draft import Placed
from fixedram_fmt.commandline.pcimodels import model_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence, PciFunction
    from fixedram_fmt.commandline.pcimodels import Model

    Properties = dict[str, str | int | None]

__all__ = ["contribute"]

_FIRST_ROOT = "0000:00"
_MULTIFUNCTION = 0x80
#: Parts of a way before the first slot: domain and bus.
_ROOT_PARTS = 2
#: Bits of MSI-X's message control that are one less than its vectors.
_MSIX_SIZE = 0x7FF
#: PCIDevice names its block so, in a buffer of 32 bytes (hw/pci/pci.c pci_add_option_rom()).
_ROM, _ROM_NAME = ".rom", 31


def contribute(evidence: Evidence, draft: Draft) -> None:
    """A -device for each PCI function that the board does not make."""
    functions = sorted(evidence.functions.values(), key=_order)
    draft.pci_buses[_FIRST_ROOT] = draft.pci_root
    _expanders(evidence, draft, functions)
    for function in functions:
        _add(evidence, draft, function)


def _order(function: PciFunction) -> tuple[int, bool, str]:
    """Outer before inner; an EHCI (function 7) before its companions."""
    return function.way.count(":"), not function.way.endswith(".7"), function.way


def _expanders(evidence: Evidence, draft: Draft, functions: Iterable[PciFunction]) -> None:
    """pxb and pxb-pcie, which have no section: by the ways of what is on their buses."""
    if draft.pci_root is None:  # a board with host bridges of its own
        return
    driver = "pxb" if draft.pci_root == "pci.0" else "pxb-pcie"
    buses = draft.pci_buses
    found = 0
    numbered = [one for one in functions if one.way.count(":") >= _ROOT_PARTS]
    for function in numbered:
        domain, bus, slot, *_ = function.way.split(":")
        way = f"{domain}:{bus}:{slot}"
        if f"{domain}:{bus}" == _FIRST_ROOT or domain != "0000" or way in buses:
            continue
        name = draft.new_id("pxb")
        place = f"{int(slot.partition('.')[0], 16):x}"
        draft.device(driver, _placed(draft, {"id": name, "bus_nr": int(bus, 16)}, place))
        buses[way] = name
        found += 1
        bridge = evidence.functions.get(f"{way}:00.0")
        if driver == "pxb" and bridge is not None and bridge.vmsd == "pci_bridge":
            # Its own, which hands the id on to its bus.
            buses[bridge.way] = name
            draft.claim(f"{bridge.way}/{bridge.vmsd}")
    hosts = len(evidence.instances("PCIHost")) - 1 - found
    for number in range(min(hosts, _HOSTS_CEILING)):
        empty = _EMPTY_BUS + number * 8
        draft.device(driver, {"id": draft.new_id("pxb"), "bus_nr": empty})
        draft.doubt(f"a {driver} has nothing on it: bus_nr={empty} is a guess")


#: Buses of expanders that nothing tells of, and how many there may be.
_EMPTY_BUS, _HOSTS_CEILING = 0x80, 8


def _placed(draft: Draft, properties: Properties, slot: str) -> Properties:
    return {**properties, "bus": draft.pci_root, "addr": slot}


def _add(evidence: Evidence, draft: Draft, function: PciFunction) -> None:
    buses = draft.pci_buses
    section = f"{function.way}/{function.vmsd}"
    if (section, 0) in draft.claimed:
        return
    model = model_of(evidence, function)
    if model is None or function.parent not in buses:
        return
    driver = _driver(evidence, function, model)
    name = draft.new_id("pci")
    properties: Properties = {"id": name, "bus": buses[function.parent], "addr": function.slot}
    if function.word(0x0E, 1) & _MULTIFUNCTION:
        properties["multifunction"] = "on"
    properties |= _rom(evidence, function, model, driver)
    properties |= card_properties(model.driver, evidence, function, draft)
    if virtio.is_virtio(driver):
        properties |= _virtio(evidence, function, model, draft, driver)
    if model.driver in NETWORK and "netdev" not in properties:
        properties["netdev"] = draft.next_user_netdev(evidence.instances("slirp"))
    if not draft.device(driver, properties):
        return
    draft.placed[function.way] = Placed(model.driver, name)
    buses[function.way] = name
    draft.claim(section)
    draft.claim_all((f"{function.way}/{other}", 0) for other in model.companions)


def _virtio(
    evidence: Evidence, function: PciFunction, model: Model, draft: Draft, driver: str
) -> Properties:
    section = f"{function.way}/{function.vmsd}"
    found = virtio.pci_transport(function, driver)
    device = virtio.virtio_of(evidence, section, function.vmsd)
    if device is not None:
        vectors = found.get("vectors")
        count = vectors if isinstance(vectors, int) else 0
        found |= virtio.type_properties(evidence, section, device, draft, count)
    if model.driver == "virtio-blk-pci":
        found["drive"] = virtio.disk_of(device, draft, section)
    elif model.driver == "virtio-9p-pci":
        found |= virtio.share_of(device, draft)
    return found


def _driver(evidence: Evidence, function: PciFunction, model: Model) -> str:
    """The name of the device, which its ROM has where it is a variant of one of virtio."""
    if model.rom and virtio.is_virtio(model.driver):
        rom = _rom_block(evidence, function, model)
        for suffix in ("-transitional", "-non-transitional"):
            variant = f"{model.driver}{suffix}"
            if rom is not None and rom == f"{variant}{_ROM}"[:_ROM_NAME]:
                return variant
    return model.driver


def _rom_block(evidence: Evidence, function: PciFunction, model: Model) -> str | None:
    for name in evidence.owned.get(function.way, ()):
        if name.endswith(_ROM) or (len(name) == _ROM_NAME and name.startswith(model.driver)):
            return name
    return None


def _rom(evidence: Evidence, function: PciFunction, model: Model, driver: str) -> Properties:
    """An option ROM as long as the image's block, or none."""
    del driver
    name = _rom_block(evidence, function, model)
    if name is None:
        return {"romfile": ""} if model.rom else {}
    return {"romsize": evidence.length(f"{function.way}/{name}")}
