"""The field of a device that a message is about, in the image's own description of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.receiver.contents import contents_of
from fixedram_fmt.schema.pci import CONFIG_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.diagnosis.cause import Cause
    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["DeviceField", "field_of"]

#: Words of the types that are compared with the receiver's own value.
_COMPARED = {"not-equal": "equal", "not-below": "le"}
#: What means something in a path that is searched for.
_GLOB = frozenset("*?[]")


class DeviceField(NamedTuple):
    """A field: its offset in the file, its path inside the device, what the image has there."""

    offset: int
    path: str
    found: str


def field_of(cause: Cause, section: Section, image: Image) -> DeviceField | None:
    """The field of section that a message names by its values; None where it is not certain."""
    with suppress(FixedRamError):
        device = image.state.device(section.name, section.instance_id)
        if device is None:
            return None
        if cause.key == "pci-config":
            return _config(cause, device)
        if cause.key in _COMPARED:
            return _compared(cause, device)
        if "field" in cause.values:
            return _named(cause.values["field"], device, image)
    return None


def _config(cause: Cause, device: DeviceState) -> DeviceField | None:
    """The byte of PCI configuration space."""
    index = int(cause.values.get("offset", "0"), 16)
    for path, content in contents_of(device).items():
        if content.type == CONFIG_TYPE and index < len(content.raw):
            return DeviceField(
                content.offset + index, f"{path}[{index:#x}]", f"{content.raw[index]:#x}"
            )
    return None


def _compared(cause: Cause, device: DeviceState) -> DeviceField | None:
    """The one value of that type that is the message's."""
    base = 16 if cause.key == "not-equal" else 10
    value = int(cause.values["value"], base)
    found = [
        DeviceField(content.offset, path, str(value))
        for path, content in contents_of(device).items()
        if _COMPARED[cause.key or ""] in content.type.split()
        and int.from_bytes(content.raw, "big") == value
    ]
    return found[0] if len(found) == 1 else None


def _named(name: str, device: DeviceState, image: Image) -> DeviceField | None:
    """The one field of that name, wherever it is in the device."""
    if _GLOB & {*name, *device.path}:
        return None
    found = [*_first_two(f"{device.path}/**/{name}", image)]
    return found[0] if len(found) == 1 else None


def _first_two(pattern: str, image: Image) -> Iterator[DeviceField]:
    for _, value in zip(range(2), image.state.find(pattern), strict=False):
        inside = value.path.removeprefix(f"{value.device.path}/")
        yield DeviceField(value.offset, inside, "")
