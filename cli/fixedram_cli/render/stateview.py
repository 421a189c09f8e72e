"""What every form of the output of `fixedram state` is given: print_state(StateView)."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import some
from fixedram_fmt.errors import FormatError

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.state import MachineState

__all__ = ["StateView", "nothing_found"]


@dataclass(frozen=True, slots=True)
class StateView:
    """The state of an image, and how much of it is printed; not every form knows every option."""

    image: Image
    location: str
    machine: MachineState
    pattern: str | None
    offsets: bool
    flat: bool
    everything: bool


def nothing_found(machine: MachineState, path: str) -> FormatError:
    """The error for a path that means nothing, with what may have been meant."""
    device = path.partition("/")[0]
    names = {device.name for device in machine.devices} | {one.path for one in machine.devices}
    close = get_close_matches(device, sorted(names), 3)
    hint = f"did you mean {', '.join(close)}?" if close else f"devices are {some(sorted(names))}"
    return FormatError(f"nothing has the path {path!r}", hint=hint)
