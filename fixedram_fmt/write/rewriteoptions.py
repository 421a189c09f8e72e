"""What is to be changed when an image is written again."""

from __future__ import annotations

from dataclasses import dataclass

from fixedram_fmt.presence.hostlong import HostLong

__all__ = ["RewriteOptions"]


@dataclass(frozen=True, slots=True)
class RewriteOptions:
    """What to change; the default changes nothing.

    start: offset of the stream in the new file (None: where it is).  container: `none`, `libvirt`
    or None to keep what there is; xml: the domain XML for a new libvirt header.  align: of the
    pages, in bytes.  host_long: byte order of the new bitmaps.  repair: lay out again where the
    stream is, which sets right offsets that are wrong by a constant.  running: what libvirt is to
    do with the guest (None: as it was), mark_complete: LibvirtQemudPart becomes LibvirtQemudSave.
    compress: what libvirt's header says of the stream; write_packed() does it.
    """

    start: int | None = None
    container: str | None = None
    xml: bytes | None = None
    align: int | None = None
    drop_stale: bool = False
    drop_devices: bool = False
    host_long: HostLong | None = None
    repair: bool = False
    running: bool | None = None
    mark_complete: bool = False
    compress: str | None = None

    @property
    def moves(self) -> bool:
        """Whether anything gets another place, so that the image is laid out again."""
        return (
            self.start is not None
            or self.container is not None
            or self.align is not None
            or self.xml is not None
            or self.drop_devices
            or self.repair
            or (self.host_long is not None and self.host_long.size != HostLong.LITTLE_64.size)
        )
