"""Where the stream of an image is whole up to, and what ends it properly from there.

Upstream for the order in which QEMU writes: migration/savevm.c qemu_savevm_state_setup(),
_iterate(), _complete_precopy(); migration/ram.c ram_save_setup(), ram_save_complete() (the last
pages, then ram_save_file_bmap(), then EOS).  migration/migration.c bg_migration_thread() writes no
END and no bitmaps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.ram import RAM_IDSTR, RamSaveFlag
from fixedram_fmt.schema.stream import MigCmd, SectionType
from fixedram_fmt.stream.footers import GLOBALSTATE_IDSTR
from fixedram_fmt.stream.pagebatch import SentPages
from fixedram_fmt.stream.records import SECTION_HEADERS, Kind
from fixedram_fmt.write.elements import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.stream.records import Record

__all__ = ["Ending", "ending_of"]

#: Records of a RAM section that stand for themselves.
_BARE = frozenset({Kind.MULTIFD_FLUSH, Kind.HOOK, Kind.FULL})
_EOS = ram.RamRecord(int(RamSaveFlag.EOS))
_EOF = Structure(Kind.EOF, "rescued/eof", stream.Eof(SectionType.EOF))
#: off_t is signed.
_LONGEST_FILE = (1 << 63) - 1
#: Names of devices that are listed.
_NAMES = 64


@dataclass(frozen=True, slots=True)
class Ending:
    """The part of a stream that is kept, and what is appended to it.

    whole: the stream reaches its end, and nothing is appended.  offset: up to where it is kept.
    blocks: how many blocks of the list are.  mem_size: what the list has to sum up to, where it is
    cut short (None: as it is), and lost_bytes what is missing then.  devices: there are some, and
    they are kept.  memory_sent: the section `ram`
    has ended, so that all pages were sent.  snapshot: a background snapshot, which holds each page
    as it was when it began.  left_out: devices after offset.
    """

    whole: bool
    offset: int
    closing: tuple[Structure, ...]
    blocks: int
    mem_size: int | None
    lost_bytes: int
    devices: bool
    described: bool
    memory_sent: bool
    snapshot: bool
    paused_by_libvirt: bool
    left_out: tuple[str, ...]


def ending_of(image: ImageFacts) -> Ending:
    """Walk the stream of image once, as far as it goes."""
    walk = _Walk(image)
    for record in image.known_records(batched=True):
        walk.take(record)
    whole = image.complete and not image.container.cut_short
    if not whole:
        walk.keep_devices()
    kept = whole or walk.devices
    snapshot = kept and walk.parts > 0 and not walk.ended and not walk.switches_over
    left_out = [] if kept else _labels(image, walk.safe)
    return Ending(
        whole=whole,
        offset=image.source.size if whole else walk.safe,
        closing=() if whole else tuple(walk.closing()),
        blocks=len(image.blocks) if whole else walk.blocks,
        mem_size=None if whole else walk.mem_size(),
        lost_bytes=0 if whole else walk.lost_bytes(),
        devices=kept and not all(section.is_ram for section in image.sections),
        described=whole,
        memory_sent=kept or walk.ended,
        snapshot=snapshot,
        paused_by_libvirt=image.container.find(LibvirtSave) is not None,
        left_out=tuple(left_out[:_NAMES]),
    )


def _labels(image: ImageFacts, start: int) -> list[str]:
    """The devices whose sections begin at start or later."""
    return [one.label for one in image.sections if not one.is_ram and one.offset >= start]


@dataclass(slots=True)
class _Walk:
    """What was seen of a stream so far; safe is where it could be ended."""

    image: ImageFacts
    safe: int = 0
    #: Whether safe lies inside the body of a RAM section, right after its EOS, or elsewhere.
    inside: bool = False
    after_eos: bool = False
    ram_id: int = 0
    footers: bool | None = None
    frozen: bool = False
    ended: bool = False
    parts: int = 0
    switches_over: bool = False
    blocks: int = 0
    announced: int = 0
    listed: bool = False
    #: Whether devices are kept: the stream has its EOF, or lacks nothing else.
    devices: bool = False
    _kind: Kind = field(default=Kind.SECTION_START)
    _last: Record[Any] | None = None
    _all_came: bool = False

    def take(self, record: Record[Any]) -> None:
        """Go on by one record."""
        kind = record.kind
        if kind in (Kind.EOF, Kind.SECTION_FOOTER):
            self._last = record
            self._all_came |= record.section == GLOBALSTATE_IDSTR
        if kind is Kind.COMMAND and record.value.command == MigCmd.SWITCHOVER_START:
            self.switches_over = True
        if self.frozen:
            return
        if kind in SECTION_HEADERS:
            self._header(record)
        elif record.section == RAM_IDSTR:
            self._in_ram(record)
        elif kind is Kind.COMMAND:
            self._keep(record.stop)
        elif kind is Kind.PACKAGED:
            self.frozen = True

    def keep_devices(self) -> None:
        """Keep them where the stream has its EOF byte, or ends between two after globalstate.

        globalstate is the last that a machine starts with (hw/core/machine.c
        qdev_machine_creation_done()); only devices that were plugged in later follow it.
        """
        last = self._last
        if last is None or self.image.ends_in is not None:
            return
        if last.kind is Kind.EOF or self._all_came:
            self.devices = self.frozen = True
            self._keep(last.stop)

    def _header(self, record: Record[Any]) -> None:
        if self.after_eos:
            self.footers = bool(self.footers)
        if self.safe:
            # All before it is whole.
            self._keep(record.offset)
        if record.kind is Kind.SECTION_FULL or self.ended:
            # What comes now is the state of devices.
            self.frozen = True
        elif record.section == RAM_IDSTR:
            self._kind, self.ram_id = record.kind, record.value.section_id
            self.parts += record.kind is Kind.SECTION_PART

    def _in_ram(self, record: Record[Any]) -> None:
        kind = record.kind
        if kind is Kind.MEM_SIZE:
            self.announced = record.value.word
        elif kind is Kind.MAPPED_RAM_HEADER and record.block is not None:
            block = self.image.blocks[record.block]
            stop = block.pages_stop if block.has_pages else record.stop
            if record.stop <= stop <= _LONGEST_FILE:
                self._keep(stop, inside=True)
                self.blocks = record.block + 1
        elif isinstance(record.value, SentPages) or kind in _BARE:
            self._listed()
            self._keep(record.stop, inside=True)
        elif kind is Kind.EOS:
            self._listed()
            self._keep(record.stop, after_eos=True)
            self.ended = self._kind is Kind.SECTION_END
        elif kind is Kind.SECTION_FOOTER:
            self.footers = True
            self._keep(record.stop)

    def _listed(self) -> None:
        """The list of blocks is behind us."""
        self.listed = True
        self.blocks = max(self.blocks, len(self.image.blocks))

    def _keep(self, offset: int, *, inside: bool = False, after_eos: bool = False) -> None:
        self.safe, self.inside, self.after_eos = offset, inside, after_eos

    def _sum(self) -> int:
        return sum(block.used_length for block in self.image.blocks[: self.blocks])

    def lost_bytes(self) -> int:
        """How much memory MEM_SIZE announces beyond the blocks that are there."""
        announced = self.announced & ~(self.image.target_page_size - 1)
        return 0 if self.listed else max(0, announced - self._sum())

    def mem_size(self) -> int | None:
        """The word of MEM_SIZE for the blocks that are there; None where it is right."""
        sum_ = self._sum()
        wrong = self.lost_bytes() and sum_ % self.image.target_page_size == 0
        return sum_ | RamSaveFlag.MEM_SIZE if wrong else None

    def closing(self) -> Iterator[Structure]:
        """What is missing from safe on: EOS, footer, the END of RAM, EOF."""
        if self.devices:
            if self._last is not None and self._last.kind is not Kind.EOF:
                yield _EOF
            return
        # Machines before 2.4 send neither a configuration nor footers.
        footers = self.image.machine is not None if self.footers is None else self.footers
        if self.inside:
            yield Structure(Kind.EOS, "rescued/ram/eos", _EOS)
        if footers and (self.inside or self.after_eos):
            yield self._footer("rescued")
        if not self.ended and not (self.inside and self._kind is Kind.SECTION_END):
            header = stream.SectionPart(SectionType.SECTION_END, self.ram_id)
            yield Structure(Kind.SECTION_END, "rescued/end/header", header)
            yield Structure(Kind.EOS, "rescued/end/ram/eos", _EOS)
            if footers:
                yield self._footer("rescued/end")
        yield _EOF

    def _footer(self, path: str) -> Structure:
        value = stream.SectionFooter(SectionType.SECTION_FOOTER, self.ram_id)
        return Structure(Kind.SECTION_FOOTER, f"{path}/footer", value)
