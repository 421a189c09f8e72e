"""Whether the guest was running, and what its clocks said, when it was saved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fixedram_fmt.vmstate.overview.fact import Fact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.values import Value

__all__ = ["clocks", "run_state"]

_NANOSECONDS = 10**9

# hw/rtc/mc146818rtc_regs.h
_SECONDS, _MINUTES, _HOURS, _DAY, _MONTH, _YEAR, _REG_B, _CENTURY = 0, 2, 4, 7, 8, 9, 0x0B, 0x32
_REG_B_24H, _REG_B_BINARY = 0x02, 0x04
_PM = 0x80


def run_state(state: MachineState) -> list[Fact]:
    """What migration/global_state.c says: the run state the guest is to have again."""
    facts = []
    for found in _values(state, "globalstate", "runstate"):
        if isinstance(found.value, bytes):
            name = found.value.partition(b"\0")[0].decode("utf-8", "backslashreplace")
            facts.append(Fact("run state at save", name, found.path))
    for found in _values(state, "globalstate", "vm_was_suspended"):
        if found.value:
            facts.append(Fact("suspended at save", True, found.path))
    return facts


def clocks(state: MachineState) -> Iterator[Fact]:
    """Real-time clocks, then how long the guest has run."""
    for found in _values(state, "mc146818rtc", "cmos_data"):
        if isinstance(found.value, bytes):
            yield from _cmos(found, found.value)
    elapsed = next(_values(state, "timer", "cpu_clock_offset"), None)
    clock = elapsed.value if elapsed is not None else None
    if elapsed is None or not isinstance(clock, int):
        return
    for found in _values(state, "pl031", "tick_offset_vmstate"):
        # In seconds, and such that the virtual clock makes it the time (pl031_pre_save()).
        yield from _time("RTC time", found.value + clock // _NANOSECONDS, found)
    for found in _values(state, "goldfish_rtc", "tick_offset"):
        # Which clock it is to be added to (-rtc clock=) is not in the state.
        text = f"{found.value / _NANOSECONDS:.3f} s, to be added to the RTC's clock"
        yield Fact("RTC offset", found.value, found.path, text)
    yield Fact("virtual clock", clock, elapsed.path, f"{clock / _NANOSECONDS:.3f} s")


def _values(state: MachineState, name: str, path: str) -> Iterator[Value]:
    """The value at path of every device of that name."""
    for device in state.devices:
        if device.name == name and (found := device.value(path)) is not None:
            yield found


def _cmos(found: Value, cmos: bytes) -> Iterator[Fact]:
    """The date in the CMOS; rtc_pre_save() brings it up to date."""
    if len(cmos) <= _CENTURY:
        return
    mode = cmos[_REG_B]

    def number(byte: int) -> int:
        return byte if mode & _REG_B_BINARY else (byte >> 4) * 10 + (byte & 15)

    hours = number(cmos[_HOURS] & ~_PM if not mode & _REG_B_24H else cmos[_HOURS])
    if not mode & _REG_B_24H:
        hours = hours % 12 + (12 if cmos[_HOURS] & _PM else 0)
    year = number(cmos[_CENTURY]) * 100 + number(cmos[_YEAR])
    date = (year, number(cmos[_MONTH]), number(cmos[_DAY]))
    try:
        told = datetime(*date, hours, number(cmos[_MINUTES]), number(cmos[_SECONDS]))
    except ValueError:
        return
    # What zone it is in only the guest knows.
    yield Fact("RTC time", told.isoformat(sep=" "), found.path)


def _time(name: str, seconds: int, found: Value) -> Iterator[Fact]:
    try:
        told = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return
    yield Fact(name, told.isoformat(sep=" ").removesuffix("+00:00"), found.path)
