"""What each field of each structure means, in words: the one place where that is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema import device, libvirt, ram, stream

if TYPE_CHECKING:
    from fixedram_fmt.schema.base import Schema

__all__ = ["STRUCTURES", "VALUES", "Structure", "Values"]


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure of the format: its layout, and what each field of it means."""

    schema: Schema[Any]
    meanings: dict[str, str]

    @property
    def name(self) -> str:
        """What the specification calls it: the class that carries its values."""
        return self.schema.record.__name__


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a field that have names: an enumeration, or the bits of flags."""

    members: Any
    meanings: dict[str, str]
    width: int = 2


_NAME_LENGTH = "bytes of the name"
_SECTION_TYPE = "what this is: a value of SectionType"

#: By the name that stands between the markers of FORMAT.md.
STRUCTURES = {
    "libvirt-header": Structure(
        libvirt.LIBVIRT_HEADER["little"],
        {
            "magic": "`LibvirtQemudSave`; `LibvirtQemudPart` while the save is under way",
            "version": "2; read as a number above 2 it has the other byte order",
            "data_len": "bytes of domain XML after this header, padding and cookie included",
            "was_running": "1: the guest ran when it was saved; 0: it was paused",
            "format": "a value of SaveFormat",
            "cookie_offset": "where the save cookie lies inside the XML area; 0: none",
            "unused": "zeros",
        },
    ),
    "file-header": Structure(
        stream.FILE_HEADER, {"magic": "`QEVM`", "version": "3; 2 is of before 2009"}
    ),
    "configuration": Structure(
        stream.CONFIGURATION,
        {
            "section_type": "0x07, CONFIGURATION",
            "len": _NAME_LENGTH,
            "name": "the machine type, not terminated",
        },
    ),
    "subsection": Structure(
        stream.SUBSECTION,
        {
            "section_type": "0x05, SUBSECTION",
            "len": _NAME_LENGTH,
            "idstr": "its name; the parent's name, `/`, its own part",
            "version_id": "its version; compared modulo 256",
        },
    ),
    "target-page-bits": Structure(
        stream.TARGET_PAGE_BITS, {"target_page_bits": "log2 of the target's page size"}
    ),
    "capabilities": Structure(
        stream.CAPABILITIES, {"caps_count": "Capability structures that follow"}
    ),
    "capability": Structure(
        stream.CAPABILITY, {"len": _NAME_LENGTH, "capability": "name of a migration capability"}
    ),
    "uuid": Structure(
        stream.UUID, {"uuid": "the guest's UUID, in the order in which it is printed"}
    ),
    "section": Structure(
        stream.SECTION,
        {
            "section_type": "0x01, SECTION_START, or 0x04, SECTION_FULL",
            "section_id": "number by which PART, END and the footer name it",
            "len": _NAME_LENGTH,
            "idstr": "what it is: `ram`, or the name of a device",
            "instance_id": "tells devices of one name apart; 0xffffffff fits any",
            "version_id": "version of the device's state; 4 for `ram`",
        },
    ),
    "section-part": Structure(
        stream.SECTION_PART,
        {
            "section_type": "0x02, SECTION_PART, or 0x03, SECTION_END",
            "section_id": "the number that its START gave",
        },
    ),
    "section-footer": Structure(
        stream.SECTION_FOOTER,
        {"section_type": "0x7e, SECTION_FOOTER", "section_id": "that of the body it ends"},
    ),
    "command": Structure(
        stream.COMMAND,
        {
            "section_type": "0x08, COMMAND",
            "command": "a value of MigCmd",
            "len": "bytes of arguments",
            "data": "the arguments",
        },
    ),
    "packaged-length": Structure(
        stream.PACKAGED_LENGTH, {"length": "bytes of a wrapped stream after the command"}
    ),
    "eof": Structure(stream.EOF, {"section_type": "0x00, EOF"}),
    "vmdescription": Structure(
        stream.VMDESCRIPTION,
        {"section_type": "0x06, VMDESCRIPTION", "length": "bytes of JSON after this header"},
    ),
    "ram-record": Structure(
        ram.RAM_RECORD, {"word": "flags in the bits below the page size, else an address or size"}
    ),
    "block-entry": Structure(
        ram.BLOCK_ENTRY,
        {
            "len": _NAME_LENGTH,
            "idstr": "name of the RAM block, not terminated",
            "used_length": "bytes of the block's memory",
        },
    ),
    "postcopy-page-size": Structure(
        ram.POSTCOPY_PAGE_SIZE, {"page_size": "bytes of a page of the block's memory backend"}
    ),
    "region-address": Structure(
        ram.REGION_ADDRESS,
        {"region_address": "address of the block's region, relative to the region's parent"},
    ),
    "mapped-ram-header": Structure(
        ram.MAPPED_RAM_HEADER,
        {
            "version": "1",
            "page_size": "bytes of a page: what a bit of the bitmap stands for",
            "bitmap_offset": "where the bitmap lies, absolute in the file",
            "pages_offset": "where page 0 lies, absolute in the file",
        },
    ),
    "page-idstr": Structure(
        ram.PAGE_IDSTR, {"len": _NAME_LENGTH, "idstr": "the block that the page belongs to"}
    ),
    "zero-page": Structure(ram.ZERO_PAGE, {"fill": "the byte that fills the page: 0"}),
    "xbzrle-page": Structure(
        ram.XBZRLE_PAGE, {"encoding": "1, ENCODING_FLAG_XBZRLE", "length": "bytes of the delta"}
    ),
    "compress-page": Structure(ram.COMPRESS_PAGE, {"length": "bytes of the zlib stream"}),
    "s390-word": Structure(
        device.S390_WORD, {"word": "guest address; flags in the bits below 4096"}
    ),
    "s390-count": Structure(
        device.S390_COUNT, {"count": "bytes that follow, one for each 4 KiB page"}
    ),
    "htab-header": Structure(
        device.HTAB_HEADER,
        {"section_hdr": "log2 of the table's bytes; 0xffffffff: no table; 0: chunks follow"},
    ),
    "htab-chunk": Structure(
        device.HTAB_CHUNK,
        {
            "index": "number of the first entry",
            "n_valid": "valid entries, 16 bytes each, which follow",
            "n_invalid": "entries after those that are invalid, of which nothing follows",
        },
    ),
    "bitmap-flags": Structure(device.BITMAP_FLAGS, {"flags": "bits of DirtyBitmapFlag"}),
    "bitmap-alias": Structure(
        device.BITMAP_ALIAS, {"len": _NAME_LENGTH, "alias": "name of a node or of a bitmap"}
    ),
    "bitmap-start": Structure(
        device.BITMAP_START,
        {"granularity": "bytes that a bit stands for", "flags": "bits of DirtyBitmapStartFlag"},
    ),
    "bitmap-bits": Structure(
        device.BITMAP_BITS,
        {"start_sector": "first sector, of 512 bytes", "nr_sectors": "how many sectors"},
    ),
    "bitmap-data": Structure(device.BITMAP_DATA, {"buf_size": "bytes of bitmap that follow"}),
}

#: The same for values with names.
VALUES = {
    "save-format": Values(
        libvirt.SaveFormat,
        {
            "RAW": "an ordinary stream, as it is",
            "GZIP": "an ordinary stream through gzip",
            "BZIP2": "through bzip2",
            "XZ": "through xz",
            "LZOP": "through lzop",
            "ZSTD": "through zstd",
            "SPARSE": "a mapped-ram stream, as it is",
        },
        width=0,
    ),
    "section-type": Values(
        stream.SectionType,
        {
            "EOF": "the stream ends; a description may follow",
            "SECTION_START": "first part of something sent in parts",
            "SECTION_PART": "a further part of it",
            "SECTION_END": "its last part",
            "SECTION_FULL": "all of something: a device",
            "SUBSECTION": "an optional part inside a state, never at top level",
            "VMDESCRIPTION": "JSON that describes the device sections",
            "CONFIGURATION": "machine type and capabilities",
            "COMMAND": "an order to the receiver",
            "SECTION_FOOTER": "ends every body",
        },
    ),
    "mig-cmd": Values(
        stream.MigCmd,
        {
            "INVALID": "never sent",
            "OPEN_RETURN_PATH": "no arguments; asks for a channel back",
            "PING": "u32; the answer carries the same number",
            "POSTCOPY_ADVISE": "nothing, or u64 page sizes of host, u64 of target",
            "POSTCOPY_LISTEN": "no arguments",
            "POSTCOPY_RUN": "no arguments",
            "POSTCOPY_RAM_DISCARD": "ranges of a block that must be sent again",
            "PACKAGED": "PackagedLength; a wrapped stream follows the command",
            "ENABLE_COLO": "no arguments",
            "POSTCOPY_RESUME": "no arguments",
            "RECV_BITMAP": "u8 length and name of a block; asks for its bitmap",
            "SWITCHOVER_START": "no arguments; the guest has stopped (since 10.0)",
        },
        width=0,
    ),
    "ram-flags": Values(
        ram.RamSaveFlag,
        {
            "FULL": "obsolete since 2009",
            "ZERO": "a page filled with one byte",
            "MEM_SIZE": "the list of RAM blocks follows",
            "PAGE": "a page as it is",
            "EOS": "ends the RAM part of this section",
            "CONTINUE": "the page is of the same block as the one before",
            "XBZRLE": "a page as a delta to what it held before",
            "HOOK": "a transport's own record (RDMA)",
            "COMPRESS_PAGE": "a page through zlib; gone since 9.1",
            "MULTIFD_FLUSH": "wait for the channels here",
        },
        width=3,
    ),
    "stattr-flags": Values(
        device.StattrFlag,
        {
            "EOS": "the part ends here",
            "MORE": "S390Count and that many bytes follow",
            "ERROR": "the sender failed",
            "DONE": "all attributes have been sent; a word with EOS follows",
        },
    ),
    "skeys-flags": Values(
        device.SkeysFlag,
        {
            "EOS": "the section ends here",
            "SKEYS": "S390Count and that many bytes follow",
            "ERROR": "the sender failed; the section ends here",
        },
    ),
    "dirty-bitmap-flags": Values(
        device.DirtyBitmapFlag,
        {
            "EOS": "the last chunk of this part",
            "ZEROES": "with BITS: all bits of the range are clear, no BitmapData",
            "BITMAP_NAME": "BitmapAlias of the bitmap is in the chunk",
            "DEVICE_NAME": "BitmapAlias of the node is in the chunk, before the bitmap's",
            "START": "BitmapStart is in the chunk",
            "COMPLETE": "nothing more comes for this bitmap",
            "BITS": "BitmapBits is in the chunk",
            "EXTRA_FLAGS": "more bytes of flags follow",
        },
    ),
    "dirty-bitmap-start-flags": Values(
        device.DirtyBitmapStartFlag,
        {
            "ENABLED": "the bitmap records writes",
            "PERSISTENT": "it is stored with the disk",
            "AUTOLOAD": "no longer used; passed over",
        },
    ),
}
