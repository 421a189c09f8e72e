"""A real restore without risk: a QEMU of one's own, paused, with no disk that it could write."""

from fixedram_fmt.rehearsal.rehearsed import Rehearsal, RehearsalPlan
from fixedram_fmt.rehearsal.rehearsing import Options, plan_of, rehearse

__all__ = ["Options", "Rehearsal", "RehearsalPlan", "plan_of", "rehearse"]
