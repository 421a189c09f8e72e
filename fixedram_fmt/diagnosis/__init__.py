"""From the words of QEMU and libvirt to the cause: messages, sides at fault, what to do.

from fixedram_fmt.diagnosis import diagnose

for cause in diagnose(open("/var/log/libvirt/qemu/guest.log", "rb")).causes:
    print(cause.message, cause.side, cause.fix)
"""

from __future__ import annotations

from fixedram_fmt.diagnosis.cause import Cause, Diagnosis, Rank, Side
from fixedram_fmt.diagnosis.diagnosing import diagnose

__all__ = ["Cause", "Diagnosis", "Rank", "Side", "diagnose"]
