"""The VM that is to receive an image, and what of the image it would refuse."""

from __future__ import annotations

from fixedram_fmt.receiver.document import ReceiverError, load_receiver
from fixedram_fmt.receiver.receiver import CheckedValue, Receiver

__all__ = ["CheckedValue", "Receiver", "ReceiverError", "load_receiver"]
