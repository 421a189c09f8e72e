"""Named defects: each breaks one thing in an image that was planned, and says what QEMU does then.

catalogue() has them all by name; apply_to_elements() and apply_to_pieces() are how synth uses one.
"""

from fixedram_fmt.build.faults.fault import Fault, FaultError, Outcome, catalogue, fault_named

__all__ = ["Fault", "FaultError", "Outcome", "catalogue", "fault_named"]
