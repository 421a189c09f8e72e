"""What people look for first in a machine's state: CPUs, run state, clock, PCI, virtio.

Every item comes from the state alone and carries the path of the value it was taken from.
"""

from __future__ import annotations

from fixedram_fmt.vmstate.overview.overview import Overview, overview

__all__ = ["Overview", "overview"]
