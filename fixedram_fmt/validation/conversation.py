"""What QEMU makes of the commands of a stream: some are taken in certain states only.

Upstream: migration/savevm.c loadvm_process_command(), loadvm_handle_cmd_packaged(); the states are
mis->to_src_file (a return path) and postcopy_state_get().
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.io.source import Source
from fixedram_fmt.schema.base import c_string
from fixedram_fmt.schema.stream import MigCmd
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.stream.walker import StreamWalker

if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

    from fixedram_fmt.schema.stream import Command
    from fixedram_fmt.stream.records import Record

__all__ = ["Conversation", "Wrapped", "wrapped_stream"]

#: Bytes of a wrapped stream that are looked at: device state, far less than this.
_LOOKED_AT = 1 << 24
#: version, length of the name, its NUL, one range of two u64.
_LEAST_DISCARD = 20
#: Commands whose arguments are read from the stream around the wrapped one.
_READ_OUTSIDE = (MigCmd.POSTCOPY_RAM_DISCARD, MigCmd.PACKAGED, MigCmd.RECV_BITMAP)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The state that the commands so far have led to."""

    return_path: bool = False
    advised: bool = False

    def after(self, command: Command) -> Conversation:
        """The state after a command that was taken."""
        if command.command == MigCmd.OPEN_RETURN_PATH:
            return replace(self, return_path=True)
        if command.command == MigCmd.POSTCOPY_ADVISE:
            return replace(self, advised=True)
        return self

    def situation(self, command: Command, blocks: Container[bytes]) -> str:
        """The command's name, and the state it comes in where that decides what QEMU does."""
        name, data = MigCmd(command.command).name, command.data
        if command.command == MigCmd.PING and self.return_path:
            return f"{name} after OPEN_RETURN_PATH"
        if command.command == MigCmd.RECV_BITMAP:
            known = c_string(data[1:]) in blocks
            return f"{name} of {'a' if known else 'no'} block"
        if not self.advised:
            return name
        if command.command == MigCmd.POSTCOPY_ADVISE:
            return f"{name} again"
        discards = command.command == MigCmd.POSTCOPY_RAM_DISCARD and len(data) >= _LEAST_DISCARD
        if discards or command.command == MigCmd.POSTCOPY_LISTEN:
            return f"{name} after POSTCOPY_ADVISE"
        return name


@dataclass(frozen=True, slots=True)
class Wrapped:
    """What is inside a PACKAGED command, as far as it was read: its commands, why it ends."""

    commands: tuple[Command, ...]
    error: FormatError | None = None


def wrapped_stream(source: Source, packaged: Record[Any]) -> Wrapped:
    """Walk the stream that a PACKAGED command wraps; bounded, whatever it says."""
    length = min(packaged.length, _LOOKED_AT)
    inner = Source.from_buffer(source.read_exact(packaged.offset, length, packaged.path))
    commands: list[Command] = []
    error = None
    try:
        for record in StreamWalker(inner).elements():
            if record.kind is Kind.COMMAND:
                _check_arguments(record, packaged)
                commands.append(record.value)
    except FormatError as stop:
        # Beyond what is looked at nothing can be said.
        error = stop if length == packaged.length else None
    return Wrapped(tuple(commands), error)


def _check_arguments(record: Record[Command], packaged: Record[Any]) -> None:
    """FormatError for a command that takes its arguments from the wrong place."""
    command = record.value
    if command.data and command.command in (*_READ_OUTSIDE, MigCmd.POSTCOPY_ADVISE):
        raise FormatError(
            "a command whose arguments QEMU reads outside the wrapped stream",
            offset=record.offset,
            path=packaged.path,
            found=f"command {command.command}",
        )
