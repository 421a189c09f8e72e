"""QEMU's list of handlers, as far as a stream shows it: who loads a section that goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.schema.base import c_string

if TYPE_CHECKING:
    from fixedram_fmt.schema.stream import SectionHeader

__all__ = ["Handler", "Handlers"]

#: A handler of QEMU's list, which loads sections: name and instance_id.
Handler = tuple[bytes, int]
#: The one before all others in the list (cpu_timers_init()), and so before `ram`.
_FIRST_HANDLER = (b"timer", 0)


class Handlers:
    """Whose section a header is of: PARTs and ENDs have only an id.

    Upstream: migration/savevm.c qemu_loadvm_section_start_full(), which gives the handler the id,
    and qemu_loadvm_section_part_end(), which takes the first handler in the list that has it.
    Streams are sent in the order of that list.
    """

    def __init__(self) -> None:
        self._ids: dict[Handler, int] = {}
        #: The only one that has an id as it is, more in the order in which they began.
        self._handlers: dict[int, Handler | dict[Handler, None]] = {}
        #: What handler() answered; until a START changes it.
        self._first: dict[int, Handler] = {}

    def start(self, header: SectionHeader) -> Handler:
        """Take note of a START or FULL; a handler that had another id has it no longer."""
        handler, section_id = (c_string(header.idstr), header.instance_id), header.section_id
        before = self._ids.get(handler)
        if before == section_id:
            return handler
        if before is not None:
            self._leave(handler, before)
        self._ids[handler] = section_id
        others = self._handlers.get(section_id)
        if others is None:
            self._handlers[section_id] = handler
        elif isinstance(others, dict):
            others[handler] = None
        else:
            self._handlers[section_id] = {others: None, handler: None}
        self._first.pop(section_id, None)
        return handler

    def _leave(self, handler: Handler, section_id: int) -> None:
        others = self._handlers[section_id]
        if isinstance(others, dict):
            del others[handler]
        else:
            del self._handlers[section_id]
        self._first.pop(section_id, None)

    def handler(self, section_id: int) -> Handler | None:
        """Who gets a PART or END of that id; None: nobody whose section has started."""
        known = self._first.get(section_id)
        handlers = self._handlers.get(section_id)
        if known is None and handlers:
            if not isinstance(handlers, dict):
                return handlers
            known = _FIRST_HANDLER if _FIRST_HANDLER in handlers else next(iter(handlers))
            self._first[section_id] = known
        return known
