"""What QEMU compares while it loads a device, field by field.

Upstream: migration/vmstate-types.c get_int32_equal(), get_int32_le(); hw/pci/pci.c
get_pci_config_device(), get_pci_irq_state(); migration/vmstate.c vmstate_load_state().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.receiver import wire
from fixedram_fmt.receiver.misfit import Kind, Misfit
from fixedram_fmt.receiver.pcimask import MSIX_COUNT, compared
from fixedram_fmt.schema.pci import CONFIG_TYPE, IRQ_STATE_TYPE
from fixedram_fmt.vmstate.structure import integer_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from fixedram_fmt.receiver.content import Content
    from fixedram_fmt.vmstate.structure import Structure
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["config_misfits", "layout_misfits", "value_misfits"]

#: Types whose length the receiver's configuration decides; numbers have one length.  Any other
#: tells its own length in the stream.
_SIZED = frozenset(
    ("bool", "buffer", "unused_buffer", "timer", "bitmap", "float64", "msix state", "shpc",
     CONFIG_TYPE, IRQ_STATE_TYPE)
)  # fmt: skip
#: Arrays of which the stream says before how many elements follow, by vmsd and field.
_COUNTED = frozenset(
    (
        ("cpu", "cpreg_vmstate_values"), ("vmxnet3/mcast_list", "mcast_list"), ("cpu", "irqstate"),
    )
)  # fmt: skip
#: Fields that are there where one before them in the stream says so, by vmsd and field:
#: hw/ide/core.c is_identify_set().
_ANNOUNCED = frozenset((("ide_drive", "identify_data"),))
_PIN_SIZE = 4
#: Bytes of the longest number.
_NUMBER_CEILING = 8


def layout_misfits(
    device: DeviceState,
    own: Structure,
    counted: Container[str],
    effort: wire.Effort | None = None,
) -> Iterator[Misfit]:
    """Fields that one side has more of, or with another length.

    What follows is read in the wrong places, up to the footer, which is not there.  counted are the
    paths of arrays whose length is in the stream.
    """
    sent = device.structure
    # A description that is wrong of itself tells nothing of the device.
    if sent is None or wire.is_same(sent, own) or wire.contradicts(sent):
        return
    effort = effort or wire.Effort()
    yield from _of_fields(device, ("", 0), (sent, own), counted, effort)
    twins = {one.path: one.structure for one in wire.subsections(own, effort)}
    for one in wire.subsections(sent, effort):
        twin = twins.get(one.path)
        if twin is not None and not wire.is_same(one.structure, twin):
            pair = one.structure, twin
            place = f"{one.path}/", one.body
            yield from _of_fields(device, place, pair, counted, effort)


def _of_fields(
    device: DeviceState,
    place: tuple[str, int],
    pair: tuple[Structure, Structure],
    counted: Container[str],
    effort: wire.Effort,
) -> Iterator[Misfit]:
    """The fields of the image's structure and of the receiver's, subsections left out.

    place is the path of both, and where the image's begins.
    """
    prefix, base = place
    sent, own = (wire.leaves(one, effort) for one in pair)
    if sent is None or own is None:
        return
    found = [
        one
        for one in wire.differences(sent, own, effort)
        if not (_is_counted(one) or _array_of(one, prefix) in counted)
    ]
    if sum(_surplus(one) for one in found) == 0:
        return
    told: set[tuple[str, bool, bool]] = set()
    for one in found:
        leaf = one.sent or one.own
        assert leaf is not None
        # Of the elements of an array the first one stands for all.
        key = _array_of(one, prefix), one.sent is None, one.own is None
        if key in told:
            continue
        told.add(key)
        yield Misfit(
            Kind.FIELDS,
            device,
            # What is the receiver's alone may be past the end here.
            min(base + leaf.start, device.size),
            prefix + leaf.path,
            _told(one, leaf),
            _length(one.sent),
            _length(one.own),
            "footer",
            item=key[0].rpartition("/")[2] if "[" in leaf.path else leaf.name,
            at_end=True,
        )


def _is_counted(difference: wire.Difference) -> bool:
    """Whether the stream itself tells length or presence: then the sender's is as good as any."""
    sent, own = difference
    if sent is None or own is None:
        leaf = sent or own
        return leaf is not None and (leaf.vmsd, leaf.name) in _ANNOUNCED
    number = integer_of(sent.type) is not None
    return (sent.vmsd, sent.name) in _COUNTED or not (number or sent.type in _SIZED)


def _array_of(difference: wire.Difference, prefix: str) -> str:
    """The path of the array that a field is, or that it is in an element of."""
    leaf = difference.sent or difference.own
    return prefix + leaf.path.split("[", 1)[0] if leaf else ""


def _surplus(difference: wire.Difference) -> int:
    sent, own = difference
    return (sent.length if sent else 0) - (own.length if own else 0)


def _told(difference: wire.Difference, leaf: wire.Leaf) -> str:
    if difference.sent is None:
        return f"the image has no field {leaf.name!r}"
    if difference.own is None:
        return f"the receiver has no field {leaf.name!r}"
    return f"field {leaf.name!r} has another length"


def _length(leaf: wire.Leaf | None) -> str:
    if leaf is None:
        return "no such field"
    return f"{leaf.length} bytes" if leaf.number == 1 else f"{leaf.number} of {leaf.size} bytes"


def value_misfits(
    device: DeviceState, sent: Mapping[str, Content], own: Mapping[str, bytes]
) -> Iterator[Misfit]:
    """Values that the receiver's must be equal to, or not below, and pins that are no pins."""
    for path, content in sent.items():
        start, twin = content.offset - device.offset, own.get(path)
        name = path.rpartition("/")[2]
        if content.type == IRQ_STATE_TYPE:
            yield from _pins(device, path, start, content.raw)
        elif twin is None or twin == content.raw or not _are_numbers(content.raw, twin):
            continue
        elif content.type.endswith(" equal"):
            yield _unequal(device, path, content, twin)
        elif content.type.endswith(" le"):
            one = int.from_bytes(content.raw, "big", signed=True)
            other = int.from_bytes(twin, "big", signed=True)
            if not 0 <= one <= other:
                yield Misfit(
                    Kind.VALUE, device, start, path, f"{name!r} is larger", str(one),
                    f"at most {other}", "not-below", {"value": one, "local": other}, name,
                )  # fmt: skip


def _are_numbers(*values: bytes) -> bool:
    """Whether they are as long as numbers are, and one as the other: a file may say anything."""
    return len({*map(len, values)}) == 1 and len(values[0]) <= _NUMBER_CEILING


def _unequal(device: DeviceState, path: str, content: Content, twin: bytes) -> Misfit:
    name = path.rpartition("/")[2]
    signed = bool(integer_of(content.type))
    found, expected = (
        str(int.from_bytes(raw, "big", signed=signed)) for raw in (content.raw, twin)
    )
    # QEMU prints either in hexadecimal, without a sign.
    one, other = int.from_bytes(content.raw, "big"), int.from_bytes(twin, "big")
    return Misfit(
        Kind.VALUE, device, content.offset - device.offset, path, f"{name!r} must be equal",
        found, expected, "not-equal", {"value": one, "local": other}, name,
    )  # fmt: skip


def _pins(device: DeviceState, path: str, start: int, raw: bytes) -> Iterator[Misfit]:
    for at in range(0, len(raw), _PIN_SIZE):
        level = int.from_bytes(raw[at : at + _PIN_SIZE], "big", signed=True)
        if level not in (0, 1):
            yield Misfit(
                Kind.VALUE, device, start + at, path, "the level of an interrupt pin",
                str(level), "0 or 1", "pci-irq-state", {"level": level},
            )  # fmt: skip
            return


def config_misfits(
    device: DeviceState, sent: Mapping[str, Content], own: Mapping[str, bytes]
) -> Iterator[Misfit]:
    """Bytes of PCI configuration spaces that QEMU compares, and that differ."""
    for path, content in sent.items():
        twin = own.get(path)
        if content.type != CONFIG_TYPE or twin is None or twin == content.raw:
            continue
        start = content.offset - device.offset
        if len(twin) != len(content.raw):
            yield Misfit(
                Kind.CONFIG, device, start, path, "a configuration space of another length",
                f"{len(content.raw)} bytes", f"{len(twin)} bytes", "footer", item="express",
            )  # fmt: skip
            continue
        for offset, (bits, name) in compared(twin).items():
            one, other = content.raw[offset], twin[offset]
            if (one ^ other) & bits:
                message = name
                if name == MSIX_COUNT:
                    message = f"MSI-X: {one + 1} vectors, the receiver's has {other + 1}"
                yield Misfit(
                    Kind.CONFIG, device, start + offset, f"{path}[{offset:#x}]", message,
                    f"{one:#04x}", f"{other:#04x}", "pci-config",
                    {"offset": offset, "read": one, "own": other,
                     "cmask": _printed_mask(name, bits), "wmask": 0,
                     "w1cmask": 0}, name,
                )  # fmt: skip


def _printed_mask(name: str, bits: int) -> int:
    """The cmask that QEMU prints; bits of a register are those that are compared.

    A BAR's cmask is whole, and a mask of what is written takes the address away again
    (pci_register_bar()).
    """
    return 0xFF if name.startswith("BAR ") else bits
