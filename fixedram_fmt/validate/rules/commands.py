"""Area S: commands in the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.records import Kind, Record
from fixedram_fmt.schema.stream import MigCmd
from fixedram_fmt.validate.rule import Found, Severity, at_records, over_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validate.survey import Survey

_SAVEVM = "FORMAT 2; migration/savevm.c "

#: Length of the arguments, None where it varies; migration/savevm.c mig_cmd_args.
_ARGUMENTS = {
    MigCmd.OPEN_RETURN_PATH: 0,
    MigCmd.PING: 4,
    MigCmd.POSTCOPY_ADVISE: None,
    MigCmd.POSTCOPY_LISTEN: 0,
    MigCmd.POSTCOPY_RUN: 0,
    MigCmd.POSTCOPY_RAM_DISCARD: None,
    MigCmd.PACKAGED: 4,
    MigCmd.ENABLE_COLO: None,
    MigCmd.POSTCOPY_RESUME: 0,
    MigCmd.RECV_BITMAP: None,
    MigCmd.SWITCHOVER_START: 0,
}
#: Commands that a save to a file has no use for; SWITCHOVER_START is the one it has, and PACKAGED
#: has a rule of its own.
_TALKING = frozenset(_ARGUMENTS) - {MigCmd.SWITCHOVER_START, MigCmd.PACKAGED}


@at_records("S06", Severity.ERROR, _SAVEVM + "loadvm_process_command()", Kind.COMMAND)
def command_unknown(_survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A command that QEMU does not know.

    QEMU stops there with an error, and loads nothing of what is behind it.

    Fix: load it with the QEMU that wrote it, or remove the command.
    """
    if record.value.command not in _ARGUMENTS:
        yield Found(
            "unknown command",
            record.offset + 1,
            record.path,
            str(record.value.command),
            f"1 to {max(_ARGUMENTS)}",
            holes={"command": record.value.command, "length": len(record.value.data)},
        )


@at_records("S07", Severity.ERROR, _SAVEVM + "mig_cmd_args", Kind.COMMAND)
def command_length(_survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A command's arguments have a length that QEMU does not take.

    QEMU knows how long they must be, and stops with an error.

    Fix: write the command as QEMU does, or remove it.
    """
    command, data = record.value.command, record.value.data
    expected = _expected_arguments(command, data)
    if expected:
        yield Found(
            f"{MigCmd(command).name} with arguments of a wrong length",
            record.offset + 3,
            record.path,
            f"{len(data)} bytes",
            expected,
            holes={
                "command": MigCmd(command).name,
                "length": len(data),
                "expected": _ARGUMENTS[MigCmd(command)] or 0,
            },
        )


def _expected_arguments(command: int, data: bytes) -> str:
    """What length a known command's arguments should have; nothing where it is right."""
    if command not in _ARGUMENTS:
        return ""
    expected = _ARGUMENTS[MigCmd(command)]
    if expected is not None:
        return "" if len(data) == expected else f"{expected} bytes"
    if command == MigCmd.POSTCOPY_ADVISE and len(data) not in (0, 16):
        return "0 or 16 bytes"
    if command == MigCmd.RECV_BITMAP and (not data or data[0] != len(data) - 1 or len(data) < 2):
        return "a name behind its length"
    return ""


@at_records("S08", Severity.WARNING, _SAVEVM + "loadvm_process_command()", Kind.COMMAND)
def command_not_for_files(_survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A command that makes no sense in a file.

    It asks for an answer (PING, return path) or belongs to postcopy and COLO, which need the
    sender to be there.

    Fix: remove the command.
    """
    command, data = record.value.command, record.value.data
    if command == MigCmd.POSTCOPY_ADVISE and not data:
        return  # a save with dirty bitmaps begins with it
    if command in _TALKING and not _expected_arguments(command, data):
        yield Found(
            f"{MigCmd(command).name} needs a sender that is there",
            record.offset,
            record.path,
            MigCmd(command).name,
            "SWITCHOVER_START",
            holes={"value": int.from_bytes(data[:4], "big")},
        )


@over_image("S20", Severity.WARNING, _SAVEVM + "loadvm_handle_cmd_packaged()")
def packaged_stream(survey: Survey) -> Iterator[Found]:
    """A stream is wrapped inside the stream; its sections are not looked at.

    Postcopy packs device state so. In a file it makes no sense.

    Fix: save the guest without postcopy.
    """
    if Kind.PACKAGED in survey.kinds:
        yield Found("a packaged stream is passed over", survey.image.container.stream_offset)
