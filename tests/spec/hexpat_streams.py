"""Small streams for the pattern: what no sample holds, and what is broken."""

from __future__ import annotations

import struct


def section(kind: int, number: int, name: bytes, body: bytes) -> bytes:
    named = bytes([len(name)]) + name + struct.pack(">II", 0, 1) if kind in (1, 4) else b""
    return struct.pack(">BI", kind, number) + named + body + struct.pack(">BI", 0x7E, number)


HEADER = b"QEVM" + struct.pack(">I", 3)
WORD = struct.Struct(">Q").pack
EOS = WORD(0x10)
PAGE_NAME = b"\x03ram"
HOSTILE_NAME = struct.pack(">BI", 7, 1 << 30)
MAPPED = struct.pack(">BI2s", 7, 2, b"pc") + b"\x05\x1aconfiguration/capabilities" + (
    struct.pack(">II", 1, 1) + b"\x0amapped-ram"
)  # fmt: skip
BLOCK = b"\x03ram" + WORD(0x1000)
ADDRESSES = ">IQQQ"


def mapped(*header: int, behind: bytes = b"") -> bytes:
    """A stream whose one block of a page has this MappedRamHeader."""
    listed = WORD(0x1000 | 4) + BLOCK + struct.pack(ADDRESSES, 1, *header)
    return HEADER + MAPPED + section(1, 0, b"ram", listed + behind)


def small_image() -> bytes:
    """Two blocks of 16 pages of 16 bytes, a PART, a command, a device and a description."""
    image = HEADER + MAPPED + section(1, 0, b"ram", WORD(0x200 | 4))[:-5]
    for name in (b"\1a", b"\1b"):
        bitmap = len(image) + len(name) + 8 + 28
        image += name + WORD(0x100) + struct.pack(ADDRESSES, 1, 16, bitmap, bitmap + 24)
        image += b"\x0f\0\xf0\0\0\0\0\0" + bytes(16) + bytes(0x100)
    image += EOS + section(3, 0, b"", b"")[-5:] + section(2, 0, b"", EOS)
    image += struct.pack(">BHH", 8, 11, 0) + section(3, 0, b"", EOS)
    return image + section(4, 2, b"dev", b"~~~~") + b"\0\x06\0\0\0\2{}"


def one_block(length: int, page_size: int, *, before: bytes = b"", bitmap: int = -1) -> bytes:
    """A whole stream with one RAM block; before its header stands `before`."""
    listed = WORD(length | 4) + b"\x03ram" + WORD(length) + before
    start = len(HEADER + MAPPED) + len(section(1, 0, b"ram", listed)) - 5 + 28
    size = (length // page_size + 63) // 64 * 8
    pages = -(start + size) // page_size * -page_size
    header = struct.pack(ADDRESSES, 1, page_size, start if bitmap < 0 else bitmap, pages)
    body = listed + header + bytes(pages - start + length) + EOS
    return HEADER + MAPPED + section(1, 0, b"ram", body) + b"\0"


#: Streams that no sample holds, by what is in them; with the warning, if there is one.
RARE: dict[str, tuple[bytes, str]] = {
    "a compressed page": (
        HEADER
        + section(1, 0, b"ram", WORD(0x100) + PAGE_NAME + struct.pack(">I", 3) + b"zip" + EOS)
        + b"\0",
        "",
    ),
    "more pages than are shown": (
        HEADER
        + section(1, 0, b"ram", WORD(2) + PAGE_NAME + b"\0" + (WORD(0x22) + b"\0") * 1100 + EOS)
        + b"\0",
        "",
    ),
    "a hook, a flush and a FULL": (
        HEADER + section(1, 0, b"ram", WORD(0x80) + WORD(0x200) + WORD(0x01) + EOS) + b"\0",
        "",
    ),
    "an XBZRLE page": (
        HEADER + section(1, 0, b"ram", WORD(0x40) + PAGE_NAME + b"\1\0\2ab" + EOS) + b"\0",
        "",
    ),
    "a page past the end": (HEADER + section(1, 0, b"ram", WORD(0x08) + PAGE_NAME), "RAM record"),
    "a RAM part past the end": (HEADER + section(1, 0, b"ram", b"")[:-4], "RAM part"),
    "a device without a footer": (HEADER + section(4, 9, b"dev", bytes(40))[:-5], "before the"),
    "an item past the end": (HEADER + section(4, 9, b"dev", b"")[:8], "head of an item"),
    "something left behind the stream": (HEADER + b"\0old", ""),
    "a page size of the memory backend": (one_block(0x1000, 0x1000, before=WORD(1 << 21)), ""),
    "more pages than are looked at": (one_block(0x90000, 1), ""),
    "a bitmap past the end": (one_block(0x1000, 0x1000, bitmap=1 << 40), "a bitmap"),
    "no kind of RAM record": (HEADER + section(1, 0, b"ram", WORD(0x50)), "RAM record"),
    "a packaged stream": (
        HEADER + struct.pack(">BHHI", 8, 7, 4, 3) + b"abc\0",
        "",
    ),
    "a packaged stream, cut": (HEADER + struct.pack(">BHHI", 8, 7, 4, 3) + b"a", "packaged"),
    "a packaged stream without a length": (HEADER + struct.pack(">BHH", 8, 7, 0), "packaged"),
    "an item of no known type": (HEADER + b"\x2a", "begin an item"),
    "a footer that is none": (
        HEADER + section(4, 9, b"dev", b"..\x7e\0\0\0\x09\x7f..") + b"\0",
        "",
    ),
    "a command behind a device": (
        HEADER + section(4, 9, b"dev", b"....") + struct.pack(">BHH", 8, 11, 0) + b"\0",
        "",
    ),
    "keys whose sender failed": (HEADER + section(4, 1, b"s390-skeys", WORD(0x04)) + b"\0", ""),
    "keys without an end": (HEADER + section(4, 1, b"s390-skeys", WORD(0x08))[:-5], "s390x"),
    "keys cut": (
        HEADER + section(4, 1, b"s390-skeys", WORD(0x02) + WORD(1 << 40)),
        "s390x",
    ),
    "attributes": (
        HEADER
        + section(1, 1, b"s390-storage_attributes", WORD(0x02) + WORD(2) + b"ab" + WORD(1))
        + section(3, 1, b"", WORD(0x08) + WORD(0x01))
        + b"\0",
        "",
    ),
    "attributes whose sender failed": (
        HEADER + section(1, 1, b"s390-storage_attributes", WORD(0x04)),
        "unknown flags",
    ),
    "a hash table": (
        HEADER
        + section(1, 1, b"spapr/htab", struct.pack(">I", 18))
        + section(3, 1, b"", struct.pack(">IIHH", 0, 3, 1, 2) + bytes(16) + bytes(8))
        + b"\0",
        "",
    ),
    "a hash table, cut": (
        HEADER + section(1, 1, b"spapr/htab", struct.pack(">IIHH", 0, 3, 9, 2)),
        "hash table",
    ),
    "a hash table without a header": (
        HEADER + section(1, 1, b"spapr/htab", b"")[:-5],
        "hash table",
    ),
    "dirty bitmaps": (
        HEADER
        + section(
            1,
            1,
            b"dirty-bitmap",
            b"\x1c\x04node\x03bit"
            + struct.pack(">IB", 65536, 1)
            + b"\x80\x40"
            + struct.pack(">QIQ", 0, 8, 2)
            + b"\x01\x02"
            + b"\x80\x80\x00\x42"
            + struct.pack(">QI", 0, 8)
            + b"\x80\x80\x00\x01",
        )
        + section(3, 1, b"", b"\x01")
        + b"\0",
        "",
    ),
    "dirty bitmaps, cut": (HEADER + section(1, 1, b"dirty-bitmap", b"")[:-3], "dirty bitmaps"),
    "a machine name past the end": (HEADER + HOSTILE_NAME, "configuration"),
    "a subsection past the end": (HEADER + MAPPED[:20], "subsection"),
    "a subsection that nobody knows": (
        HEADER + MAPPED[:7] + b"\x05\x03new" + struct.pack(">I", 1),
        "unknown length",
    ),
    "capabilities past the end": (HEADER + MAPPED[:-4], "capabilities"),
    "a page size of 0": (mapped(0, 0x100, 0x1000), "page size of 0"),
    "a block without a place": (mapped(0x1000, 0, 0), "without a place"),
    "a list of blocks without an end": (
        HEADER + section(1, 0, b"ram", WORD(0x104) + bytes(9 * 5000)),
        "more RAM blocks",
    ),
    "capabilities without an end": (
        HEADER + MAPPED[:-15] + struct.pack(">I", 1 << 31) + bytes(3000),
        "more capabilities",
    ),
    "pages past the end": (mapped(0x1000, 0x90, 1 << 40), "lie outside"),
    "pages behind the header": (mapped(0x1000, 8, 0), "lie outside"),
    "a block list past the end": (
        HEADER + MAPPED + section(1, 0, b"ram", WORD(4 | 0x2000) + BLOCK)[:-5],
        "list of RAM blocks",
    ),
    "a description past the end": (HEADER + b"\0\x06" + struct.pack(">I", 9) + b"{", "description"),
    "no stream": (bytes(100), "no stream"),
    "a compressed stream of libvirt": (
        struct.pack("<16s5I56x", b"LibvirtQemudSave", 2, 4, 0, 1, 0) + b"<a/>" + b"\x1f\x8b",
        "compressed",
    ),
    "libvirt's header of a big-endian host": (
        struct.pack(">16s5I56x", b"LibvirtQemudSave", 2, 4, 0, 6, 0) + b"<a/>" + HEADER + b"\0",
        "",
    ),
    "libvirt's header, cut": (
        struct.pack(">16s5I56x", b"LibvirtQemudSave", 2, 99, 0, 0, 0) + b"<a/>",
        "domain XML",
    ),
}
