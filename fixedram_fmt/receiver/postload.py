"""What devices check when their state has been loaded: post_load functions and hand-written ones.

Each looks at a few values of its own device; no type in a description tells of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.receiver.misfit import Kind, Misfit
from fixedram_fmt.receiver.pcimask import has_capability
from fixedram_fmt.receiver.virtioblob import ACTIVE_PORTS, OUTPUTS, PORTS
from fixedram_fmt.receiver.wire import Effort, subsections
from fixedram_fmt.schema.pci import CAP_ID_MSIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fixedram_fmt.receiver.content import Content
    from fixedram_fmt.vmstate.structure import Structure
    from fixedram_fmt.vmstate.values import DeviceState

    Sent = Mapping[str, Content]
    Own = Mapping[str, bytes]

__all__ = ["state_misfits"]


def state_misfits(
    device: DeviceState,
    sent: Sent,
    own: Own,
    structure: Structure | None,
    effort: Effort | None = None,
) -> Iterator[Misfit]:
    """What the device itself would refuse; structure is the receiver's."""
    if structure is not None:
        yield from _pointers(device, structure, effort or Effort())
    vmsd = device.name.rpartition("/")[2]
    if vmsd == "spapr":
        yield from _capabilities(device, sent, own)
    elif vmsd == "cpu":
        yield from _processor(device, sent, own)
    elif vmsd == "hpet":
        yield from _same(device, sent, own, "num_timers_save", "timers", _HPET)
    elif vmsd == "e1000e":
        for name in ("subsys", "subsys_ven"):
            yield from _same(device, sent, own, name, name, ("e1000e-subsys", {}))
    elif vmsd == "virtio-mem-device-early":
        yield from _virtio_mem(device, sent, own)
    elif vmsd == "xhci":
        yield from _vectors(device, own)
    elif vmsd == "virtio-gpu":
        yield from _outputs(device, sent, own)
    elif vmsd == "virtio-console":
        yield from _ports(device, sent, own)


#: Key of the message and its holes.
_Says = tuple[str, "Mapping[str, int | str]"]
#: hw/timer/hpet.c hpet_validate_num_timers()
_HPET: _Says = ("must-exist", {"vmsd": "hpet", "field": "num_timers must match"})


#: Bytes of the longest number; what a file says may be longer.
_NUMBER_CEILING = 8


def _number(raw: bytes) -> int:
    return int.from_bytes(raw[:_NUMBER_CEILING], "big")


def _same(
    device: DeviceState, sent: Sent, own: Own, path: str, item: str, says: _Says
) -> Iterator[Misfit]:
    one, other = sent.get(path), own.get(path)
    if one is None or other is None or one.raw == other:
        return
    key, holes = says
    yield Misfit(
        Kind.STATE, device, one.offset - device.offset, path, f"{path!r} must be the same",
        str(_number(one.raw)), str(_number(other)), key, holes, item,
    )  # fmt: skip


# -- hw/ppc/spapr_caps.c spapr_caps_post_migration() ----------------------------------------------

#: Capabilities of a pseries by the end of their subsection: name, and the level of the newest
#: machine types, which is not sent.
_LEVELS = {
    "htm": ("cap-htm", 0), "vsx": ("cap-vsx", 1), "dfp": ("cap-dfp", 1),
    "cfpc": ("cap-cfpc", 1), "sbbc": ("cap-sbbc", 1), "ibs": ("cap-ibs", 1),
    "hpt_maxpagesize": ("cap-hpt-max-page-size", 16), "nested_kvm_hv": ("cap-nested-hv", 0),
    "large_decr": ("cap-large-decr", 1), "ccf_assist": ("cap-ccf-assist", 1),
    "fwnmi": ("cap-fwnmi", 1), "rpt_invalidate": ("cap-rpt-invalidate", 0),
    "nested_papr": ("cap-nested-papr", 0), "ail_mode_3": ("cap-ail-mode-3", 1),
}  # fmt: skip
_CAPS = "spapr/cap/"


def _levels(values: Mapping[str, int]) -> dict[str, int]:
    """Level of each capability by the end of its subsection; those alone that were sent."""
    found = {}
    for path, level in values.items():
        if path.startswith(_CAPS):
            found[path[len(_CAPS) :].split("/")[0]] = level
    return found


def _capabilities(device: DeviceState, sent: Sent, own: Own) -> Iterator[Misfit]:
    theirs = _levels({path: _number(one.raw) for path, one in sent.items()})
    ours = _levels({path: _number(raw) for path, raw in own.items()})
    for end, (name, usual) in _LEVELS.items():
        level, local = theirs.get(end, usual), ours.get(end, usual)
        if level > local:
            yield Misfit(
                Kind.STATE, device, device.size, f"{_CAPS}{end}", f"{name} is higher", str(level),
                f"at most {local}", "spapr-cap",
                {"capability": name, "value": level, "local": local}, name,
            )  # fmt: skip


# -- target/ppc/machine.c cpu_post_load(), pvr_match() --------------------------------------------

#: The lower half is a CPU's revision, which some of them do not insist on.
_MODEL = 0xFFFF0000
_MODE = "cpu/compat/compat_pvr"


def _processor(device: DeviceState, sent: Sent, own: Own) -> Iterator[Misfit]:
    for path, one in sent.items():
        if one.type != "pvr" or path not in own or _compatibility(sent, own):
            continue
        pvr, local = _number(one.raw), _number(own[path])
        if (pvr ^ local) & _MODEL:
            yield Misfit(
                Kind.STATE, device, device.size, path, "another model of CPU",
                f"PVR {pvr:#x}", f"PVR {local:#x}", "post-load", {"vmsd": "cpu"}, "cpu",
            )  # fmt: skip


def _compatibility(sent: Sent, own: Own) -> bool:
    """Whether the guest runs in a mode of an older CPU: then the receiver's must know that mode.

    Where none is sent, the receiver's own stays as it is (max-cpu-compat=), and that is looked at.
    """
    if any(one.type == "compat" for one in sent.values()):
        return any(one.type == "compat" and any(one.raw) for one in sent.values())
    return any(path.endswith(_MODE) and any(raw) for path, raw in own.items())


# -- hw/virtio/virtio-mem.c, vmstate_virtio_mem_sanity_checks --------------------------------------

_VIRTIO_MEM = {"addr": "memaddr", "region_size": "size", "block_size": "block-size", "node": "node"}


def _virtio_mem(device: DeviceState, sent: Sent, own: Own) -> Iterator[Misfit]:
    for field, name in _VIRTIO_MEM.items():
        path = f"tmp/{field}"
        one, other = sent.get(path), own.get(path)
        if one is not None and other is not None and one.raw != other:
            value, local = _number(one.raw), _number(other)
            yield from _same(
                device, sent, own, path, name,
                ("property-changed", {"property": name, "value": value, "local": local}),
            )  # fmt: skip


# -- hw/usb/hcd-xhci-pci.c xhci_pci_vmstate_post_load() --------------------------------------------


def _vectors(device: DeviceState, own: Own) -> Iterator[Misfit]:
    """QEMU releases an interrupt vector that a controller without MSI-X has not."""
    for path, config in own.items():
        if path.partition("/")[2] == "config[1]" and not has_capability(config, CAP_ID_MSIX):
            yield Misfit(
                Kind.STATE, device, 0, path, "the receiver's controller has no MSI-X", "any state",
                "none: QEMU dies of its own", item="msix", at_end=True,
                crash="msix_vector_unuse: Assertion `vector < dev->msix_entries_nr' failed.",
            )  # fmt: skip


# -- hw/display/virtio-gpu.c vmstate_virtio_gpu_scanouts ------------------------------------------


def _outputs(device: DeviceState, sent: Sent, own: Own) -> Iterator[Misfit]:
    for path, one in sent.items():
        if one.type == OUTPUTS and path in own:
            holes: Mapping[str, int | str]
            holes = {"value": _number(one.raw), "local": _number(own[path])}
            yield from _same(device, sent, own, path, "max_outputs", ("not-equal", holes))


# -- hw/char/virtio-serial-bus.c virtio_serial_load_device(), fetch_active_ports_list() ----------


def _ports(device: DeviceState, sent: Sent, own: Own) -> Iterator[Misfit]:
    for path, one in sent.items():
        other = own.get(path)
        if other is None:
            continue
        if one.type == ACTIVE_PORTS and {*_quads(one.raw)} - {*_quads(other)}:
            yield _other_ports(device, path, one, _listed(_quads(one.raw)), _listed(_quads(other)))
        if one.type != PORTS:
            continue
        length = min(len(one.raw), len(other))
        if one.raw[:length] != other[:length]:
            yield _other_ports(device, path, one, _numbers(one.raw), _numbers(other))


def _other_ports(device: DeviceState, path: str, one: Content, found: str, expected: str) -> Misfit:
    return Misfit(
        Kind.STATE, device, one.offset - device.offset, path, "other ports are plugged in",
        found, expected, "field", {"vmsd": "virtio-console", "field": "virtio"}, "ports",
    )  # fmt: skip


def _quads(raw: bytes) -> list[int]:
    return [_number(raw[at : at + 4]) for at in range(0, len(raw), 4)]


def _numbers(raw: bytes) -> str:
    """Ports of a map of words, of which each has the lowest number in its lowest bit."""
    words = enumerate(_quads(raw))
    return _listed([32 * n + bit for n, word in words for bit in range(32) if word >> bit & 1])


def _listed(ports: list[int]) -> str:
    return f"ports {', '.join(map(str, ports))}" if ports else "no ports"


# -- subsections whose fields are pointers that only some receivers have allocated --------------

#: Ends of their paths, and whether the receiver allocates none where it sends none at all.
#: hw/audio/hda-codec.c vmstate_hda_audio_stream_buf (a stream that the codec does not use),
#: hw/acpi/ich9_tco.c vmstate_tco_io_sts (enable_tco=off), target/arm/machine.c vmstate_wfxt_timer
#: (-cpu max, and with QEMU 11.1 a cortex-a72 too).
_POINTERS = {"hda-audio-stream/buffer": False, "ich9_pm/tco": True, "cpu/wfxt-timer": True}
_ASSERTION = "vmstate_load_state: Assertion `first_elem || !n_elems || !size' failed."


def _pointers(device: DeviceState, own: Structure, effort: Effort) -> Iterator[Misfit]:
    """QEMU asserts that there is something to load them into."""
    if device.structure is None:
        return
    sent = [(one, _ending(one.path)) for one in subsections(device.structure, effort)]
    if not any(ending for _, ending in sent):
        return
    there = {one.path: _ending(one.path) for one in subsections(own, effort)}
    for one, ending in sent:
        if not ending or one.path in there:
            continue
        if _POINTERS[ending] or ending in there.values():
            yield Misfit(
                Kind.STATE, device, one.start, one.path, "the receiver's device has no such part",
                "a subsection", "none", item=ending, crash=_ASSERTION,
            )  # fmt: skip


def _ending(path: str) -> str:
    return next((end for end in _POINTERS if path.endswith(end)), "")
