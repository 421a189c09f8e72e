"""Area S: commands in the stream."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema.base import c_string, text
from fixedram_fmt.schema.stream import MigCmd
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.validation.conversation import wrapped_stream
from fixedram_fmt.validation.effects import crashes, refuses
from fixedram_fmt.validation.rule import Observation, Severity, at_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.schema.stream import Command
    from fixedram_fmt.validation.conversation import Conversation
    from fixedram_fmt.validation.effects import Effect
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_SAVEVM = "FORMAT 5; migration/savevm.c "

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


@at_records(
    "S06",
    Severity.ERROR,
    _SAVEVM + "loadvm_process_command()",
    Kind.COMMAND,
    effect=refuses("unknown-command"),
)
def command_unknown(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A command that QEMU does not know.

    QEMU stops there with an error, and loads nothing of what is behind it.

    Fix: load it with the QEMU that wrote it, or remove the command.
    """
    if record.value.command not in _ARGUMENTS:
        yield Observation(
            "unknown command",
            record.offset + 1,
            record.path,
            str(record.value.command),
            f"1 to {max(_ARGUMENTS)}",
            holes={"command": record.value.command, "length": len(record.value.data)},
        )


def _wrong_length(case: Case) -> Effect:
    """QEMU's table has some lengths, the handlers of other commands check theirs."""
    holes = case.finding.holes
    if holes.get("command") == "RECV_BITMAP":
        return refuses("recv-bitmap-name" if holes.get("length", 0) != 0 else "recv-bitmap-length")
    advise = holes.get("command") == "POSTCOPY_ADVISE"
    return refuses("advise-length" if advise else "command-length")


@at_records("S07", Severity.ERROR, _SAVEVM + "mig_cmd_args", Kind.COMMAND, effect=_wrong_length)
def command_length(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A command's arguments have a length that QEMU does not take.

    QEMU knows how long they must be, and stops with an error.

    Fix: write the command as QEMU does, or remove it.
    """
    command, data = record.value.command, record.value.data
    expected = _expected_arguments(command, data)
    if expected:
        yield Observation(
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
        return "a name after its length"
    return ""


#: By the situation of a command (conversation.py) when nobody is there to talk to.
_UNANSWERED = {
    "PING": refuses("ping"),
    "POSTCOPY_ADVISE": refuses("advise"),
    "POSTCOPY_ADVISE again": refuses("advise-state", state=1),
    "POSTCOPY_LISTEN": refuses("listen-state", state=0),
    "POSTCOPY_LISTEN after POSTCOPY_ADVISE": crashes("two threads read the stream"),
    "POSTCOPY_RUN": refuses("run-state", state=0),
    "POSTCOPY_RAM_DISCARD": refuses("discard-state", state=0),
    "POSTCOPY_RAM_DISCARD after POSTCOPY_ADVISE": crashes("waits for postcopy for ever"),
    "ENABLE_COLO": refuses("colo"),
    "RECV_BITMAP of no block": refuses("recv-bitmap-block"),
}


def _nobody_answers(case: Case) -> Effect | None:
    return _UNANSWERED.get(case.finding.found)


@at_records(
    "S08",
    Severity.WARNING,
    _SAVEVM + "loadvm_process_command()",
    Kind.COMMAND,
    effect=_nobody_answers,
)
def command_not_for_files(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A command that makes no sense in a file.

    It asks for an answer (PING, return path) or belongs to postcopy and COLO, which need the
    sender to be there.

    Fix: remove the command.
    """
    yield from _misplaced(survey, survey.conversation, record.value, record)


def _misplaced(
    survey: Survey, state: Conversation, command: Command, record: Record[Any]
) -> Iterator[Observation]:
    """A finding if a command of a conversation is none that a save begins with."""
    number, data = command.command, command.data
    if number not in _TALKING or _expected_arguments(number, data):
        return
    situation = state.situation(command, _block_names(survey))
    # A save with dirty bitmaps begins with an empty ADVISE, one with a return path opens it.
    if situation != MigCmd.POSTCOPY_ADVISE.name or data:
        yield Observation(
            f"{MigCmd(number).name} needs a sender that is there",
            record.offset,
            record.path,
            situation,
            "SWITCHOVER_START",
            holes={"value": int.from_bytes(data[:4], "big"), "block": text(c_string(data[1:]))},
        )


def _block_names(survey: Survey) -> set[bytes]:
    """Names of the receiver's blocks; the image's where it is not known."""
    local = survey.destination.blocks if survey.destination else None
    if local is None:
        return {block.idstr for block in survey.image.blocks}
    return {name.encode() for name in local}


@at_records("S20", Severity.WARNING, _SAVEVM + "loadvm_handle_cmd_packaged()", Kind.PACKAGED)
def packaged_stream(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A stream is wrapped inside the stream.

    Postcopy packs device state so. In a file it makes no sense; QEMU reads it up to its EOF.

    Fix: save the guest without postcopy.
    """
    yield Observation(
        "a packaged stream",
        record.offset,
        record.path,
        f"{record.length} bytes",
        "sections of their own",
    )


def _packaged(case: Case) -> Effect | None:
    """A command inside, or the wrapped stream itself."""
    if case.finding.message.startswith("inside"):
        return _nobody_answers(case)
    return refuses("end-of-file")


@at_records(
    "S23", Severity.ERROR, _SAVEVM + "loadvm_handle_cmd_packaged()", Kind.PACKAGED, effect=_packaged
)
def packaged_broken(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A wrapped stream cannot be read to its EOF.

    QEMU reads it like any stream: sections and commands, and an EOF byte at the end.

    Fix: save the guest without postcopy, or remove the command.
    """
    wrapped, state = wrapped_stream(survey.image.source, record), survey.conversation
    for command in wrapped.commands:
        for one in _misplaced(survey, state, command, record):
            yield replace(one, message=f"inside the wrapped stream: {one.message}")
        state = state.after(command)
    if wrapped.error is not None:
        error = wrapped.error
        yield Observation(
            f"the wrapped stream breaks off: {error.message}",
            record.offset + (error.offset or 0),
            record.path,
            error.found or "its end",
            error.expected or "an EOF byte",
        )
