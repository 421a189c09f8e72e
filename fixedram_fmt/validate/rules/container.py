"""Area C: what the stream is packed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.validate.rule import Found, Severity, at_stop, over_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.container import Container
    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.validate.survey import Survey

_FORMAT = "FORMAT 1; libvirt src/qemu/qemu_saveimage.c"


def _packed_stream(container: Container) -> bool:
    """Whether libvirt's header stands before a compressed stream (not all of it in a .xz, say)."""
    return bool(container.libvirt and container.compression and not container.stream_offset)


@over_image("C01", Severity.ERROR, _FORMAT + " QEMU_SAVE_PARTIAL")
def save_never_finished(survey: Survey) -> Iterator[Found]:
    """libvirt's header says that the save never finished.

    libvirt writes the magic LibvirtQemudPart first and replaces it when all is on disk. virsh
    restore refuses such a file; what is in it may lack memory or devices.

    Fix: save the guest again; virsh restore deletes the file when asked to start afresh.
    """
    libvirt = survey.image.container.libvirt
    if libvirt and libvirt.partial:
        yield Found(
            "the save never finished",
            0,
            "libvirt.magic",
            "LibvirtQemudPart",
            "LibvirtQemudSave",
            order=0,
        )


@over_image("C02", Severity.ERROR, _FORMAT + " virQEMUSaveFormat")
def format_contradicts_stream(survey: Survey) -> Iterator[Found]:
    """The format in libvirt's header is not that of the stream.

    libvirt chooses how to restore by this field: with `raw` it hands QEMU a pipe, in which nothing
    lies at fixed offsets; with `sparse` it asks for mapped-ram.

    Fix: write the header again (fixedram copy --container libvirt).
    """
    container = survey.image.container
    if container.libvirt is None or _packed_stream(container):
        return
    sparse = container.libvirt.format == "sparse"
    if sparse != survey.mapped:
        yield Found(
            "libvirt would restore this in the wrong way",
            28,
            "libvirt.format",
            container.libvirt.format,
            "sparse" if survey.mapped else "raw",
            order=0,
        )


@over_image("C03", Severity.WARNING, _FORMAT + " virQEMUSaveHeader")
def cookie_outside_xml(survey: Survey) -> Iterator[Found]:
    """The save cookie lies outside the area of the domain XML.

    libvirt reads the cookie (what it must remember of the running domain) from there.

    Fix: set cookieOffset to 0 or to a place inside the XML area.
    """
    libvirt = survey.image.container.libvirt
    if libvirt and libvirt.header.cookie_offset >= max(1, libvirt.header.data_len):
        yield Found(
            "the cookie is not inside the XML area",
            32,
            "libvirt.cookie_offset",
            str(libvirt.header.cookie_offset),
            f"below {libvirt.header.data_len}",
            order=0,
        )


@over_image("C04", Severity.WARNING, _FORMAT)
def no_domain_xml(survey: Survey) -> Iterator[Found]:
    """There is no domain XML behind libvirt's header.

    Without it libvirt does not know what machine to start for the memory.

    Fix: fixedram copy --container libvirt --xml DOMAIN.xml IMAGE -o SAVE.
    """
    libvirt = survey.image.container.libvirt
    if libvirt is None:
        return
    head = libvirt.source.read_upto(libvirt.header_length, min(libvirt.header.data_len, 64))
    if not head.lstrip().startswith(b"<"):
        yield Found(
            "no XML begins here",
            libvirt.header_length,
            "libvirt.xml",
            repr(head[:16]),
            "<domain ...>",
            order=0,
        )


@over_image("C05", Severity.NOTE, _FORMAT)
def unused_fields_set(survey: Survey) -> Iterator[Found]:
    """Unused fields of libvirt's header are not zero.

    A newer libvirt may have written them for something that this reader, and an older libvirt,
    passes over.
    """
    libvirt = survey.image.container.libvirt
    if libvirt and any(libvirt.header.unused):
        yield Found(
            "unused fields are set", 36, "libvirt.unused", "bytes other than 0", "zeros", order=0
        )


@over_image("C06", Severity.NOTE, "FORMAT 1; QEMU migration/file.c")
def compressed(survey: Survey) -> Iterator[Found]:
    """The file is compressed: findings and offsets are those of what is in it.

    QEMU reads fixed offsets of the file itself, so it loads this only when it has been unpacked.

    Fix: unpack it before it is loaded.
    """
    container = survey.image.container
    if container.compression and not _packed_stream(container):
        yield Found(
            f"unpacked from {container.compression}", 0, "", container.compression, "bare", order=0
        )


@over_image("C07", Severity.ERROR, "FORMAT 1")
def compressed_data_cut(survey: Survey) -> Iterator[Found]:
    """The compressed data ends early or is damaged.

    What follows is missing from everything else that is said about this image.

    Fix: get the file again; its end is missing.
    """
    if survey.image.container.cut_short:
        yield Found(survey.image.container.cut_short, survey.image.source.size, "container")


@over_image("C08", Severity.ERROR, _FORMAT)
def fixed_layout_in_compressed_save(survey: Survey) -> Iterator[Found]:
    """A libvirt save of a compressed stream has a fixed layout.

    libvirt feeds an unpacked stream to QEMU through a pipe, where no offset can be read.

    Fix: unpack it and write it as a sparse save (fixedram copy --container libvirt).
    """
    container = survey.image.container
    if container.libvirt and _packed_stream(container) and survey.mapped:
        yield Found(
            "a fixed layout cannot be restored through a pipe",
            28,
            "libvirt.format",
            container.compression or "",
            "sparse",
            order=0,
        )


@at_stop("C09", Severity.ERROR, _FORMAT, "libvirt-version")
def libvirt_version_unknown(_survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """libvirt's header has a version nobody knows.

    The version says what the header's fields mean; read by another one, they lead to a wrong place.

    Fix: use the libvirt that wrote it; this is no file of libvirt up to 11.
    """
    yield Found(error.message, error.offset, error.path, error.found, error.expected)


@at_stop("C10", Severity.ERROR, _FORMAT, "libvirt-xml")
def xml_past_end(_survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """The domain XML reaches past the end of the file.

    Where the stream begins is header plus data_len, so nothing of it can be found.

    Fix: get the file again; it was cut off, or data_len is damaged.
    """
    yield Found(error.message, error.offset, error.path, error.found, error.expected)
