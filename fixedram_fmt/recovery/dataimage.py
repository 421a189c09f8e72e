"""An image whose pages are told by the data of the file, whatever its bitmaps say."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from fixedram_fmt.image import Image
from fixedram_fmt.io.output import Output
from fixedram_fmt.io.source import Source
from fixedram_fmt.io.spool import scratch_file
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.recovery.rebuilding import RebuiltBitmap

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock

__all__ = ["DataImage"]


class DataImage(Image):
    """Present is each page that holds a byte other than 0: stale pages too.

    The data of a block is read when its bitmap is first asked for; the bits are kept in a file
    without a name.  An ordinary stream has no bitmaps, and is read as it is.
    """

    def __init__(self, *source: Any, **options: Any) -> None:
        super().__init__(*source, **options)
        self._found: dict[int, PageBitmap] = {}
        self._files = ExitStack()

    def bitmap(self, block: RamBlock) -> PageBitmap | None:
        """Presence by the pages' data."""
        if not block.has_pages:
            return super().bitmap(block)
        if block.index not in self._found:
            self._found[block.index] = self._made(block)
        return self._found[block.index]

    def _made(self, block: RamBlock) -> PageBitmap:
        made = RebuiltBitmap(self.source, block, HostLong.LITTLE_64, whole_pages=True)
        purpose = f"the bitmap of {block.name}"
        with scratch_file(purpose) as fd:
            output = Output(fd, purpose)
            made.write(output, 0)
            output.finish(made.length)
            source = self._files.enter_context(Source.from_fd(fd, purpose))
        return PageBitmap(source, 0, block.pages_total, path=block.path)

    def close(self) -> None:
        """Give back the files of the image and those of its bitmaps."""
        self._files.close()
        super().close()
