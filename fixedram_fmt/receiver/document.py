"""A receiver from whatever one has: our JSON or TOML, a domain XML, -dump-vmstate, an image.

What a file is is told by its content, not by its name.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fixedram_fmt.container.domain import DomainError, domain_of
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.image import Image
from fixedram_fmt.io.documents import json_document, read_document, toml_document
from fixedram_fmt.knowledge import is_dump, read_dump
from fixedram_fmt.receiver.joining import joined
from fixedram_fmt.receiver.receiver import Receiver, in_bytes
from fixedram_fmt.schema.ram import is_page_size

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ReceiverError", "is_document", "load_receiver"]

#: Offsets in files are signed numbers of 64 bits.
_LENGTH_CEILING = 1 << 63
#: Bytes by which a file is recognised.
_HEAD = 1 << 10
#: How images begin, and compressed ones: nothing else that is given has a zero byte.
_BINARY = (b"QEVM", b"Libvirt", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"\x89LZO")


class ReceiverError(FixedRamError):
    """What was given does not describe a receiver; path is the field."""


def load_receiver(*places: str | Path) -> Receiver:
    """The receiver that all of places describe together; ReceiverError where one does not."""
    return joined([_load(str(place)) for place in places])


def is_document(place: str) -> bool:
    """Whether a receiver is described there in words, not by an image."""
    path = Path(place)
    return not path.is_fifo() and _reader(place, None) is not None


def _load(place: str) -> Receiver:
    data = _from_pipe(place)
    read = _reader(place, data)
    if read is None:
        found, kind = _of_image(place), "image"
    else:
        try:
            found, kind = read(read_document(place) if data is None else data)
            _check(found)
        except (ValueError, DomainError) as error:
            # msgspec.ValidationError is a ValueError and names the field; so is what cannot be
            # encoded.
            raise ReceiverError(
                f"{place!r} is no description of a destination: {error}",
                hint="fixedram destination IMAGE -o FILE makes one",
            ) from error
    own = found.sources or []
    return msgspec.structs.replace(found, sources=[*own, f"{kind} {place}"])


def _from_pipe(place: str) -> bytes | None:
    """What a pipe gives, which can be read only once; None for anything else."""
    with suppress(OSError, ValueError):
        if Path(place).is_fifo():
            return read_document(place)
    return None


def _reader(place: str, data: bytes | None) -> Callable[[bytes], tuple[Receiver, str]] | None:
    """What reads a document; None: it is an image, or nothing that is there."""
    path = Path(place)
    named = path.suffix in (".json", ".toml", ".xml")
    if "\0" in place or path.is_dir() or (named and data is None and not path.is_file()):
        return _toml
    head = (data or b"")[:_HEAD]
    if data is None:
        with suppress(OSError), path.open("rb") as file:
            head = file.read(_HEAD)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        return _domain
    if path.suffix == ".json" or (start.startswith((b"{", b"[")) and path.suffix != ".toml"):
        return _json
    is_text = b"\0" not in head and not head.startswith(_BINARY)
    return _toml if (head and is_text) or path.suffix == ".toml" or data is not None else None


def _of_image(place: str) -> Receiver:
    with Image.open(place) as image:
        if not image.complete:
            raise ReceiverError(
                f"{place!r} cannot be read to its end, and tells only a part of the destination",
                hint="fixedram validate says what is wrong with it",
            )
        return Receiver.of_image(image)


def _json(data: bytes) -> tuple[Receiver, str]:
    document = json_document(data)
    if is_dump(document):
        return _of_dump(data), "-dump-vmstate"
    return _converted(document), "JSON"


def _toml(data: bytes) -> tuple[Receiver, str]:
    return _converted(toml_document(data)), "TOML"


def _converted(document: Any) -> Receiver:
    return msgspec.convert(document, Receiver)


def _domain(data: bytes) -> tuple[Receiver, str]:
    domain_of(data)
    return Receiver(domain=data.decode()), "domain"


def _of_dump(data: bytes) -> Receiver:
    try:
        return Receiver(machine=read_dump(data).machine, vmstate=data.decode())
    except ValueError as error:
        raise ValueError(f"-dump-vmstate: {error}") from error


def _check(receiver: Receiver) -> None:
    """ValueError for what no VM has."""
    size = receiver.target_page_size
    if size is not None and not is_page_size(size):
        raise ValueError(f"target_page_size: no target has pages of {size} bytes")
    for field in ("blocks", "max_lengths"):
        for name, length in in_bytes(getattr(receiver, field) or {}).items():
            if not 0 <= length < _LENGTH_CEILING:
                raise ValueError(f"{field}: {name!r} cannot be so long")
    names = (receiver.blocks, receiver.sections, receiver.instances, receiver.contents)
    texts = (receiver.machine, receiver.description, receiver.domain, receiver.vmstate)
    for name in (
        *(text or "" for text in texts),
        *(name for table in names for name in table or ()),
    ):
        name.encode()
