"""Area C: what the stream is packed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.schema.libvirt import QEMU_SAVE_VERSION, SaveFormat
from fixedram_fmt.validation.effects import Effect, Phase, crashes
from fixedram_fmt.validation.restore import by_libvirt, libvirt_refuses, restore_refuses
from fixedram_fmt.validation.rule import Observation, Severity, at_stop, over_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.loaders import Libvirt
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_FORMAT = "FORMAT 2; libvirt src/qemu/qemu_saveimage.c"


@over_image(
    "C01",
    Severity.ERROR,
    _FORMAT + " QEMU_SAVE_PARTIAL",
    effect=restore_refuses("save image is incomplete"),
    phase=Phase.LIBVIRT_HEADER,
)
def save_never_finished(survey: Survey) -> Iterator[Observation]:
    """libvirt's header says that the save never finished.

    libvirt writes the magic LibvirtQemudPart first and replaces it when all is on disk. virsh
    restore refuses such a file, even where the stream in it is complete. Where it is a managed save
    (virsh managedsave), virsh start DELETES THE FILE and boots the guest afresh, with exit code 0
    and without asking any hook: its memory is lost.

    Fix: copy the file away before anybody starts the guest. Where the stream is complete (fixedram
    info), fixedram copy --mark-complete IMAGE -o SAVE sets the magic right, and virsh restore SAVE
    takes it. Otherwise save the guest again; fixedram rescue saves the memory that is there.
    """
    libvirt = survey.image.container.find(LibvirtSave)
    if libvirt and libvirt.partial:
        yield Observation(
            "the save never finished",
            libvirt.offset_of("magic"),
            "libvirt.magic",
            "LibvirtQemudPart",
            "LibvirtQemudSave",
        )


_RAW, _SPARSE = "raw", "sparse"
_NO_STREAM = "Not a migration stream"
_NOT_MAPPED = "Capability mapped-ram is on, but received capability is off"
_MAPPED = "Capability mapped-ram is off, but received capability is on"
_FD = "fd: migration to a file is not supported. Use file: instead."
_NO_LENGTH = "invalid header data length: 0"


@by_libvirt
def _other_format(case: Case, _libvirt: Libvirt) -> Effect:
    """What is named in the header decides who reads the stream."""
    named, real = case.finding.found, case.finding.expected
    if named == _RAW:
        return libvirt_refuses(_MAPPED if real == _SPARSE else _NO_STREAM)
    if named == _SPARSE:
        return libvirt_refuses(_NOT_MAPPED if real == _RAW else _NO_STREAM)
    return crashes(f"hangs: {named} -dc gives up, and virsh restore waits for ever")


@over_image(
    "C02",
    Severity.ERROR,
    _FORMAT + " virQEMUSaveFormat",
    effect=_other_format,
    phase=Phase.LIBVIRT_START,
)
def format_contradicts_stream(survey: Survey) -> Iterator[Observation]:
    """The format in libvirt's header is not that of the stream.

    libvirt chooses how to restore by this field: with `raw` it hands QEMU a pipe, in which nothing
    lies at fixed offsets; with `sparse` it asks for mapped-ram; with the name of a compression it
    lets that program unpack the stream. Where the program finds something else it gives up, and
    virsh restore waits for ever.

    Fix: write the header again (fixedram copy --container libvirt).
    """
    libvirt = survey.image.container.find(LibvirtSave)
    if libvirt is None:
        return
    named, real = libvirt.format, _real_format(survey)
    # Before version 2 there was no compression, and the field is not looked at.
    if libvirt.header.version < QEMU_SAVE_VERSION and named != "sparse":
        named = "raw"
    if named != real and not named.isdigit():
        message = "libvirt would restore this in the wrong way"
        yield Observation(message, libvirt.offset_of("format"), "libvirt.format", named, real)


def _real_format(survey: Survey) -> str:
    """The name libvirt has for what lies after its header."""
    container = survey.image.container
    if container.stream_compression:
        return container.stream_compression
    return "sparse" if survey.mapped else "raw"


@by_libvirt
def _unknown_format(case: Case, libvirt: Libvirt) -> Effect | None:
    known, found = {one.name.lower(): int(one) for one in SaveFormat}, case.finding.found
    number = known.get(found, int(found) if found.isdigit() else 0)
    if number <= libvirt.last_format:
        return None
    return libvirt_refuses(libvirt.unknown_format.format(found=number))


@over_image(
    "C11",
    Severity.ERROR,
    _FORMAT + " virQEMUSaveFormat",
    effect=_unknown_format,
    phase=Phase.LIBVIRT_FORMAT,
)
def format_unknown(survey: Survey) -> Iterator[Observation]:
    """The format in libvirt's header is not known to every libvirt.

    zstd came with libvirt 9.4, sparse with 11.2. An older one refuses the file; a number beyond
    these no libvirt knows.

    Fix: restore it with a newer libvirt, or write it as raw (fixedram convert).
    """
    libvirt = survey.image.container.find(LibvirtSave)
    if libvirt is None or libvirt.format in ("raw", "gzip", "bzip2", "xz", "lzop"):
        return
    known = not libvirt.format.isdigit()
    yield Observation(
        f"not every libvirt knows format {libvirt.format}" if known else "no libvirt knows it",
        libvirt.offset_of("format"), "libvirt.format", libvirt.format, "a format of that libvirt",
        conditional=known,
    )  # fmt: skip


@by_libvirt
def _raw_through_fd(_case: Case, libvirt: Libvirt) -> Effect | None:
    return libvirt_refuses(_FD) if libvirt.raw_through_fd else None


#: Since when migration/fd.c refuses files.
_NO_FILES_BY_FD = 11


@over_image(
    "C17",
    Severity.NOTE,
    "libvirt 11.3 src/qemu/qemu_migration.c; QEMU migration/fd.c",
    effect=_raw_through_fd,
    phase=Phase.LIBVIRT_START,
)
def raw_through_fd(survey: Survey) -> Iterator[Observation]:
    """libvirt 11.3 with QEMU 11 restores no raw save.

    It hands the file to QEMU as a descriptor, and QEMU 11 says: "fd: migration to a file is not
    supported. Use file: instead." With QEMU 10 it restores it. The machine type tells where it has
    to be QEMU 11.

    Fix: write it as a sparse save (fixedram convert, copy --container libvirt), or use libvirt 12.
    """
    libvirt = survey.image.container.find(LibvirtSave)
    machine = survey.image.machine or ""
    version = machine.rpartition("-")[2].partition(".")[0]
    if (
        libvirt
        and libvirt.format == "raw"
        and version.isdigit()
        and int(version) >= _NO_FILES_BY_FD
    ):
        yield Observation(
            "libvirt 11.3 cannot hand a raw save to the QEMU that this machine needs",
            libvirt.offset_of("format"), "libvirt.format", version,
            f"at most QEMU {_NO_FILES_BY_FD - 1}",
        )  # fmt: skip


@by_libvirt
def _cookie_outside(case: Case, _libvirt: Libvirt) -> Effect | None:
    save = case.survey.image.container.find(LibvirtSave) if case.survey else None
    if save is None or save.header.cookie_offset == save.header.data_len:
        return None
    if save.xml_offset + save.header.cookie_offset > save.source.size:
        return libvirt_refuses("failed to read domain XML")
    # cookie_len is data_len - cookieOffset as a size_t.
    return crashes("GLib-ERROR: failed to allocate memory (the length of the cookie wraps)")


@over_image(
    "C03",
    Severity.ERROR,
    _FORMAT + " virQEMUSaveHeader",
    effect=_cookie_outside,
    phase=Phase.LIBVIRT_HEADER,
)
def cookie_outside_xml(survey: Survey) -> Iterator[Observation]:
    """The save cookie lies outside the area of the domain XML.

    libvirt takes what lies between cookieOffset and data_len for the cookie (what it must remember
    of the running domain). Where that is negative it allocates as much, and the daemon aborts.

    Fix: set cookieOffset to 0 or to a place inside the XML area.
    """
    libvirt = survey.image.container.find(LibvirtSave)
    if libvirt and libvirt.header.cookie_offset >= max(1, libvirt.header.data_len):
        yield Observation(
            "the cookie is not inside the XML area",
            libvirt.offset_of("cookie_offset"),
            "libvirt.cookie_offset",
            str(libvirt.header.cookie_offset),
            f"below {libvirt.header.data_len}",
        )


@by_libvirt
def _no_xml(case: Case, _libvirt: Libvirt) -> Effect:
    save = case.survey.image.container.find(LibvirtSave) if case.survey else None
    empty = save is not None and not save.header.data_len
    return libvirt_refuses(_NO_LENGTH if empty else "(domain_definition): the XML cannot be parsed")


@over_image("C04", Severity.ERROR, _FORMAT, effect=_no_xml, phase=Phase.LIBVIRT_XML)
def no_domain_xml(survey: Survey) -> Iterator[Observation]:
    """There is no domain XML after libvirt's header.

    Without it libvirt does not know what machine to start for the memory.

    Fix: fixedram copy --container libvirt --xml DOMAIN.xml IMAGE -o SAVE.
    """
    libvirt = survey.image.container.find(LibvirtSave)
    if libvirt is None:
        return
    head = libvirt.source.read_upto(libvirt.xml_offset, min(libvirt.header.data_len, 64))
    if not head.lstrip().startswith(b"<"):
        yield Observation(
            "no XML begins here",
            libvirt.xml_offset,
            "libvirt.xml",
            repr(head[:16]),
            "<domain ...>",
        )


@over_image("C05", Severity.NOTE, _FORMAT)
def unused_fields_set(survey: Survey) -> Iterator[Observation]:
    """Unused fields of libvirt's header are not zero.

    A newer libvirt may have written them for something that this reader, and an older libvirt,
    passes over.
    """
    libvirt = survey.image.container.find(LibvirtSave)
    if libvirt and any(libvirt.header.unused):
        yield Observation(
            "unused fields are set",
            libvirt.offset_of("unused"),
            "libvirt.unused",
            "bytes other than 0",
            "zeros",
        )


@over_image("C06", Severity.NOTE, "FORMAT 2; QEMU migration/file.c")
def compressed(survey: Survey) -> Iterator[Observation]:
    """The file is compressed: findings and offsets are those of what is in it.

    QEMU reads fixed offsets of the file itself, so it loads this only when it has been unpacked.

    Fix: unpack it before it is loaded.
    """
    compression = survey.image.container.file_compression
    if compression:
        yield Observation(f"unpacked from {compression}", 0, "", compression, "bare", order=0)


@by_libvirt
def _unpacking_fails(case: Case, _libvirt: Libvirt) -> Effect | None:
    container = case.survey.image.container if case.survey else None
    if container is None or container.stream_compression is None:
        return None
    program = f"{container.stream_compression} -dc"
    return libvirt_refuses(f"Child process ({program}) unexpected exit status 1")


@over_image("C07", Severity.ERROR, "FORMAT 2", effect=_unpacking_fails, phase=Phase.RESTORED)
def compressed_data_cut(survey: Survey) -> Iterator[Observation]:
    """The compressed data ends early or is damaged.

    What follows is missing from everything else that is said about this image.

    Fix: get the file again; its end is missing.
    """
    if survey.image.container.cut_short:
        yield Observation(survey.image.container.cut_short, survey.image.source.size, "container")


@over_image(
    "C08", Severity.ERROR, _FORMAT, effect=restore_refuses(_MAPPED), phase=Phase.LIBVIRT_START
)
def fixed_layout_in_compressed_save(survey: Survey) -> Iterator[Observation]:
    """A libvirt save of a compressed stream has a fixed layout.

    libvirt feeds an unpacked stream to QEMU through a pipe, where no offset can be read.

    Fix: unpack it and write it as a sparse save (fixedram copy --container libvirt).
    """
    container = survey.image.container
    libvirt, compression = container.find(LibvirtSave), container.stream_compression
    if libvirt and compression and survey.mapped:
        yield Observation(
            "a fixed layout cannot be restored through a pipe",
            libvirt.offset_of("format"),
            "libvirt.format",
            compression,
            "sparse",
        )


@at_stop(
    "C09",
    Severity.ERROR,
    _FORMAT,
    "libvirt-version",
    effect=restore_refuses("image version is not supported ({found} > 2)"),
    phase=Phase.LIBVIRT_HEADER,
)
def libvirt_version_unknown(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """libvirt's header has a version nobody knows.

    The version says what the header's fields mean; read by another one, they lead to a wrong place.
    Every libvirt up to 12.8 writes and takes version 2, in either byte order.

    Fix: get the file again: its header is damaged. No libvirt is known that writes such a version.
    """
    yield Observation.of(error)


@by_libvirt
def _past_end(case: Case, _libvirt: Libvirt) -> Effect:
    if case.finding.found == "0":
        return libvirt_refuses(_NO_LENGTH)
    part = "cookie" if case.finding.path == "libvirt.cookie" else "domain XML"
    return libvirt_refuses(f"failed to read {part}")


@at_stop(
    "C10", Severity.ERROR, _FORMAT, "libvirt-xml", effect=_past_end, phase=Phase.LIBVIRT_HEADER
)
def xml_past_end(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """The domain XML reaches past the end of the file, or has no length.

    Where the stream begins is header plus data_len, so nothing of it can be found.

    Fix: get the file again; it was cut off, or data_len is damaged.
    """
    yield Observation.of(error)
