"""A real restore without risk: a QEMU of one's own, paused, with no disk that it could write."""

from fixedram_fmt.rehearsal.rehearsing import Options, Plan, planned, rehearse, wanted
from fixedram_fmt.rehearsal.result import Rehearsal

__all__ = ["Options", "Plan", "Rehearsal", "planned", "rehearse", "wanted"]
