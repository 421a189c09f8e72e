# This file is licensed under the Volatility Software License 1.0
# which is available at https://www.volatilityfoundation.org/license/vsl-v1.0
#
# It is an addition to volatility3 and stands alone: the package fixedram, which it calls and
# beside which it is installed, is under the MIT License.
#
# volatility3 has no types, and need not be there where this is checked.
# mypy: disable-error-code="import-not-found, import-untyped, misc, no-any-return"
"""Guest-physical memory of QEMU migration images, as a layer of volatility3.

    vol -p "$(fixedram volatility-path)" -f guest.img banners

Reads mapped-ram images, ordinary migration streams and libvirt save images; a stream that begins
at an offset is looked for in the first 64 MiB.  Pages that are absent in the image are zero;
addresses at which the guest has no memory of the image's are invalid.
"""

from __future__ import annotations

import functools
import itertools
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from volatility3.framework import constants, exceptions, interfaces
from volatility3.framework.configuration import requirements
from volatility3.framework.layers import physical

try:
    import fixedram_fmt  # noqa: F401
except ImportError:
    # volatility3 may have an environment of its own; the package is where this file is.
    sys.path.append(str(Path(__file__).resolve().parents[3]))

from fixedram_fmt.container.bare import stream_offsets
from fixedram_fmt.container.locate import begins_save
from fixedram_fmt.container.registry import HEAD
from fixedram_fmt.errors import FixedRamError, SourceError
from fixedram_fmt.forensics.guest import GuestMemory, State
from fixedram_fmt.image import Image
from fixedram_fmt.io.cached import CachedSource
from fixedram_fmt.io.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.forensics.guest import Tile

vollog = logging.getLogger(__name__)

#: Streams that begin further in are not looked for.
_SEARCH_STOP = 1 << 26
#: More places that look like a stream's start are not tried.
_TRIES = 4

#: Scanners for page tables look at pages: chunks begin at one.
_PAGE = 1 << 12
#: Zeros up to this long are scanned: faster than two chunks.
_SHORT_GAP = 1 << 16


class LayerSource(Source):
    """A layer's bytes, for files that only volatility3 can open (in an archive, by a URL).

    A packed archive is unpacked from its start for each read that goes back: read it cached.
    """

    def __init__(self, layer: interfaces.layers.DataLayerInterface) -> None:
        super().__init__(name=layer.name, size=layer.maximum_address + 1)
        self._layer = layer

    def fill(self, offset: int, target: memoryview, path: str) -> None:
        """Fill target with the bytes at offset."""
        if not target.nbytes:
            return
        try:
            target[:] = self._layer.read(offset, target.nbytes)
        except Exception as error:  # each kind of archive has its own
            raise SourceError(f"cannot be read: {error}", offset=offset, path=path) from error


@functools.lru_cache(maxsize=1)
def _open_path(path: Path, offset: int | None, _stamp: tuple[int, ...]) -> GuestMemory:
    """The memory of a file, kept open: volatility3 makes its layers anew for each use of them."""
    return GuestMemory(Image.open(path, offset=offset))


def _open_layer(
    layer: interfaces.layers.DataLayerInterface, offset: int | None = None
) -> GuestMemory:
    """The memory of the image in a layer: by its file, if there is one, else by its reads."""
    location = urlsplit(getattr(layer, "location", ""))
    path = Path(url2pathname(location.path))
    if location.scheme == "file" and path.is_file():
        status = path.stat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        return _open_path(path, offset, stamp)
    return GuestMemory(Image.open(CachedSource(LayerSource(layer)), offset=offset))


def _shown(error: object) -> str:
    """Text that quotes a file, without what a terminal would take for a command."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in f"{error}"
    )


class FixedRamLayer(interfaces.layers.TranslationLayerInterface):
    """Guest-physical memory of a QEMU migration image that lies in another layer."""

    def __init__(
        self,
        context: interfaces.context.ContextInterface,
        config_path: str,
        name: str,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(context=context, config_path=config_path, name=name, metadata=metadata)
        self._base_layer = self.config["base_layer"]
        self._opened: GuestMemory | None = None
        try:
            self._opened = self.guest
        except FixedRamError as error:
            raise exceptions.LayerException(name, _shown(error)) from error

    @classmethod
    def get_requirements(cls) -> list[interfaces.configuration.RequirementInterface]:
        """The layer of the file, and where in it the stream begins."""
        return [
            requirements.TranslationLayerRequirement(name="base_layer", optional=False),
            requirements.IntRequirement(
                name="stream_offset",
                description="Where the stream begins in the file",
                optional=True,
            ),
        ]

    @property
    def guest(self) -> GuestMemory:
        """The memory; opened again in a copy, since open files are neither copied nor pickled."""
        if self._opened is None:
            base = self.context.layers[self._base_layer]
            self._opened = _open_layer(base, self.config.get("stream_offset", None))
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def destroy(self) -> None:
        """Lets go of the image."""
        self._opened = None

    @property
    def dependencies(self) -> list[str]:
        """The layer of the file."""
        return [self._base_layer]

    # -- addresses -------------------------------------------------------------------------------

    @property
    def minimum_address(self) -> int:
        """Where the first range of memory starts."""
        return self.guest.start

    @property
    def maximum_address(self) -> int:
        """The last byte of the last one."""
        return self.guest.stop - 1

    def is_valid(self, offset: int, length: int = 1) -> bool:
        """Whether the image has all of these addresses, be it as absent pages."""
        try:
            return self.guest.is_valid(offset, offset + length)
        except FixedRamError:
            return False

    def mapping(
        self, offset: int, length: int, ignore_errors: bool = False
    ) -> Iterable[tuple[int, int, int, int, str]]:
        """Runs of pages and where they lie in the file.

        The mapped length is 0 for pages that are absent there, or not stored as they are.
        """
        for tile in self._tiles(offset, offset + max(length, 1)):
            size = min(tile.stop - tile.start, length)
            if tile.state is State.HOLE:
                if not ignore_errors:
                    raise self._invalid(tile.start)
                continue
            mapped = self.guest.base_offset(tile)
            if mapped is None:
                yield tile.start, size, 0, 0, self._base_layer
            else:
                yield tile.start, size, mapped, size, self._base_layer

    def _tiles(self, start: int, stop: int) -> Iterator[Tile]:
        try:
            yield from self.guest.tiles(start, stop)
        except FixedRamError as error:
            raise self._invalid(start, error) from error

    def _invalid(
        self, address: int, why: object = "no memory of the image's"
    ) -> exceptions.InvalidAddressException:
        message = f"Layer {self.name}: {_shown(why)} at 0x{address:x}"
        return exceptions.InvalidAddressException(self.name, address, message)

    # -- bytes -----------------------------------------------------------------------------------

    def read(self, offset: int, length: int, pad: bool = False) -> bytes:
        """Memory at offset; with pad, zeros where there is none."""
        guest, parts = self.guest, []
        try:
            for tile in guest.tiles(offset, offset + length):
                if tile.state is State.HOLE and not pad:
                    raise self._invalid(tile.start)
                parts.append(self._bytes_of(tile, pad))
        except FixedRamError as error:
            # The bitmap itself cannot be read: nothing is known of the rest.
            if not pad:
                raise self._invalid(offset, error) from error
            vollog.debug(_shown(error))
            parts.append(bytes(length - sum(map(len, parts))))
        # One part is not copied.
        return b"".join(parts)

    def _bytes_of(self, tile: Tile, pad: bool) -> bytes:
        try:
            return self.guest.bytes_of(tile)
        except FixedRamError as error:
            if not pad:
                raise self._invalid(tile.start, error) from error
            vollog.debug(_shown(error))
            return bytes(tile.stop - tile.start)

    def write(self, offset: int, value: bytes) -> None:
        """Images are never written."""
        vollog.warning(f"Try to write to unwritable layer: {self.name}")

    # -- scanning --------------------------------------------------------------------------------

    def _scan_iterator(
        self,
        scanner: interfaces.layers.ScannerInterface,
        sections: Iterable[tuple[int, int]],
        linear: bool = False,
    ) -> Iterable[tuple[list[tuple[str, int, int]], int]]:
        """The chunks to scan: what is present, and a little of the zeros around it."""
        for start, length in sections:
            for low, high in self._to_scan(start, start + length, scanner.overlap):
                # As in volatility3's own: what lies behind chunk_size is scanned again.
                for at in range(low, high, scanner.chunk_size):
                    size = min(high - at, scanner.chunk_size + scanner.overlap)
                    yield [(self.name, at, size)], at + size

    def _to_scan(self, start: int, stop: int, overlap: int) -> Iterator[tuple[int, int]]:
        """Ranges that hold all that is present, with zeros around it for matches at the edge."""
        margin = -(-max(overlap, 1) // _PAGE) * _PAGE
        floor, pending = start, None
        for tile in self.guest.tiles(start, stop):
            if tile.state is State.HOLE:
                if pending:
                    yield pending[0], min(pending[1], tile.start)
                floor, pending = tile.stop, None
            elif tile.state is State.DATA:
                low = max(floor, (tile.start - margin) // _PAGE * _PAGE)
                if pending and low > pending[1] + _SHORT_GAP:
                    yield pending
                    pending = None
                pending = (pending[0] if pending else low, tile.stop + margin)
        if pending:
            yield pending[0], min(pending[1], stop)


class FixedRamStacker(interfaces.automagic.StackerLayerInterface):
    """Finds QEMU migration images before volatility3's own layer, which cannot read them, does."""

    stack_order = 5

    @classmethod
    def stack(
        cls,
        context: interfaces.context.ContextInterface,
        layer_name: str,
        progress_callback: constants.ProgressCallback = None,
    ) -> interfaces.layers.DataLayerInterface | None:
        """The layer, None where the file is no such image or says nothing of addresses."""
        base = context.layers[layer_name]
        size = base.maximum_address + 1 if isinstance(base, physical.FileLayer) else 0
        if not size:
            return None
        if not begins_save(base.read(0, min(HEAD, size))):
            offset = cls._find_stream(base)
            return None if offset is None else cls._layer(context, layer_name, offset)
        try:
            return cls._layer(context, layer_name, None)
        except exceptions.LayerException as error:
            vollog.warning(f"This QEMU migration image cannot be read: {error}")
            return None

    @classmethod
    def _layer(
        cls,
        context: interfaces.context.ContextInterface,
        layer_name: str,
        offset: int | None,
    ) -> FixedRamLayer:
        new_name = context.layers.free_layer_name("FixedRamLayer")
        path_join = interfaces.configuration.path_join
        context.config[path_join(new_name, "base_layer")] = layer_name
        if offset is not None:
            context.config[path_join(new_name, "stream_offset")] = offset
        layer = FixedRamLayer(context, new_name, new_name)
        for note in layer.guest.notes:
            vollog.warning(f"This QEMU migration image is not whole: {_shown(note)}")
        for note in layer.guest.map_notes:
            vollog.info(_shown(note))
        return layer

    @classmethod
    def _find_stream(cls, layer: interfaces.layers.DataLayerInterface) -> int | None:
        """Where a whole stream begins further in; a copy of such bytes in a dump is none."""
        offsets = stream_offsets(LayerSource(layer), stop=_SEARCH_STOP)
        for offset in itertools.islice(offsets, _TRIES):
            try:
                if _open_layer(layer, offset).image.complete:
                    return offset
            except FixedRamError as error:
                vollog.debug(_shown(error))
        return None
