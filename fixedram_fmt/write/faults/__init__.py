"""Named defects: each breaks one thing in an image that was planned, and says what QEMU does then.

catalogue() has them all by name; a Fault breaks elements before they are laid out, or pieces after.
"""

from fixedram_fmt.write.faults.fault import Fault, FaultError, Outcome
from fixedram_fmt.write.faults.named import (
    FaultList,
    FaultSummary,
    catalogue,
    fault_list,
    fault_named,
)

__all__ = [
    "Fault",
    "FaultError",
    "FaultList",
    "FaultSummary",
    "Outcome",
    "catalogue",
    "fault_list",
    "fault_named",
]
