"""Everything inside the devices of an image that a receiver would refuse."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.knowledge import read_dump
from fixedram_fmt.receiver.checks import config_misfits, layout_misfits, value_misfits
from fixedram_fmt.receiver.contents import COUNT, Allowance, contents_of
from fixedram_fmt.receiver.cpregs import register_misfits
from fixedram_fmt.receiver.hotplug import list_misfits
from fixedram_fmt.receiver.knownfit import known_misfits
from fixedram_fmt.receiver.postload import state_misfits
from fixedram_fmt.receiver.wire import Effort
from fixedram_fmt.vmstate.description import Description

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fixedram_fmt.image import Image
    from fixedram_fmt.knowledge import KnownVmstate
    from fixedram_fmt.receiver.misfit import Misfit
    from fixedram_fmt.receiver.receiver import Receiver
    from fixedram_fmt.vmstate.structure import Structure
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["dumped_misfits", "misfits", "own_structures"]

_Key = tuple[str, int]


def own_structures(receiver: Receiver) -> Mapping[_Key, Structure]:
    """The receiver's devices field by field, by name and instance; empty where nothing tells."""
    return {} if receiver.description is None else _compiled(receiver.description)


@lru_cache(maxsize=2)
def _compiled(text: str) -> Mapping[_Key, Structure]:
    """One receiver is asked about many images."""
    found: dict[_Key, Structure] = {}
    try:
        description = Description(text.encode(), name="the receiver's description")
    except FormatError:
        return found
    for device in description.devices:
        try:
            found.setdefault((device.name, device.instance_id), description.structure(device))
        except FormatError:
            continue
    return found


def misfits(image: Image, receiver: Receiver) -> Iterator[Misfit]:
    """What the receiver would refuse, device by device, each in the order in which it is read."""
    structures = own_structures(receiver)
    left, effort = Allowance(), Effort()
    cpus = len((receiver.instances or {}).get("cpu", ()))
    for device in image.state.devices:
        key = receiver.find(device.name, device.instance_id)
        if key is None or device.structure is None:
            continue
        told = (receiver.contents or {}).get(f"{key[0]}/{key[1]}", {})
        own = {path: bytes.fromhex(one.value) for path, one in told.items()}
        found = [
            *_in_device(device, structures.get(key), own, (left, effort)),
            *list_misfits(device, structures.get(key), cpus),
        ]
        yield from sorted(found, key=lambda one: one.met)


def dumped_misfits(image: Image, receiver: Receiver) -> Iterator[Misfit]:
    """What the receiver would refuse by its -dump-vmstate."""
    if receiver.vmstate is not None:
        yield from known_misfits(image, _dumped(receiver.vmstate))


@lru_cache(maxsize=2)
def _dumped(text: str) -> Mapping[str, tuple[KnownVmstate, ...]]:
    return read_dump(text.encode()).vmstates


def _in_device(
    device: DeviceState,
    structure: Structure | None,
    own: Mapping[str, bytes],
    limits: tuple[Allowance, Effort],
) -> Iterator[Misfit]:
    left, effort = limits
    sent = contents_of(device, left)
    if structure is not None:
        counts = {path for path in sent if path.endswith(COUNT) and path in own}
        yield from layout_misfits(
            device, structure, {path[: -len(COUNT)] for path in counts}, effort
        )
    yield from value_misfits(device, sent, own)
    yield from config_misfits(device, sent, own)
    yield from register_misfits(device, sent, own)
    yield from state_misfits(device, sent, own, structure, effort)
