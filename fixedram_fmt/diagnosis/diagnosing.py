"""The whole way: from a log, and an image if there is one, to a Diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from fixedram_fmt.diagnosis.cause import Diagnosis
from fixedram_fmt.diagnosis.telling import of_log

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.receiver import Receiver

__all__ = ["diagnose"]


def diagnose(
    log: str | bytes | BinaryIO | None,
    image: Image | None = None,
    receiver: Receiver | None = None,
) -> Diagnosis:
    """What a log says of why a save or a restore failed, and where in the image that lies.

    log is the text itself, or a file opened in binary mode, which is read line by line; None asks
    validate alone about the image.  receiver is the VM that was to receive it, where it is known.
    """
    told = Diagnosis(path=None) if log is None else of_log(log)
    if image is None:
        return told
    from fixedram_fmt.diagnosis.located import located

    return located(told, image, receiver)
