"""The rehearsal as a whole: which VM, made harmless, tried, adapted where that is asked for."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fixedram_fmt.commandline import command_line
from fixedram_fmt.diagnosis import diagnose
from fixedram_fmt.errors import FixedRamError, UnsupportedError
from fixedram_fmt.knowledge import known_in, known_versions
from fixedram_fmt.receiver.programs import programs_for
from fixedram_fmt.rehearsal.adapting import adapt
from fixedram_fmt.rehearsal.attempt import (
    Loading,
    Setting,
    arguments_around,
    attempt,
    private_folder,
)
from fixedram_fmt.rehearsal.clock import Clock
from fixedram_fmt.rehearsal.harmless import harmless
from fixedram_fmt.rehearsal.monitor import require_qmp
from fixedram_fmt.rehearsal.rehearsed import Rehearsal, RehearsalPlan, StartedQemu
from fixedram_fmt.rehearsal.rewriting import Rewriting
from fixedram_fmt.rehearsal.vm import Vm, blank_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.diagnosis import Cause
    from fixedram_fmt.image import Image
    from fixedram_fmt.rehearsal.attempt import Attempt
    from fixedram_fmt.rehearsal.rehearsed import Adapted

__all__ = ["Options", "plan_of", "rehearse"]

#: Seconds: at least, and for each GiB of the file.
_LIMIT, _PER_GIB = 60.0, 10.0
#: Firmware of a PC lies below 4 GiB, in 16 MiB at most (hw/i386/x86-common.c).
_FIRMWARE_CEILING = 16 << 20
#: The program that has all machines of another one.
_LARGER = {"i386": "x86_64", "arm": "aarch64", "ppc": "ppc64", "riscv32": "riscv64"}


@dataclass(frozen=True, slots=True)
class Options:
    """How an image is rehearsed.

    arguments are those of the VM, without the program (None: derived from the image).  qemu is the
    program; accel `tcg` or `kvm`; channels is 0 without multifd; timeout in seconds (None: by the
    image's size); memory: compared afterwards; adapt: tries at most, 0 for one as it is.
    """

    arguments: Sequence[str] | None = None
    qemu: str | None = None
    accel: str = "tcg"
    channels: int = 0
    flush_after_each_section: bool = False
    timeout: float | None = None
    memory: bool = True
    adapt: int = 0

    @property
    def loading(self) -> Loading:
        """How QEMU loads."""
        return Loading(self.channels, self.flush_after_each_section, self.accel, True, self.memory)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Arguments of the VM, programs that could be it, the first that is here counts, and doubts."""

    words: list[str]
    programs: Sequence[str]
    doubts: tuple[str, ...] = ()


def _wanted(image: Image, options: Options, folder: Path) -> _Wanted:
    """The VM that options name, or the image tells; its firmware is a file in folder."""
    given = [options.qemu] if options.qemu else []
    if options.arguments is not None:
        return _Wanted(list(options.arguments), given or _programs(image))
    derived = command_line(image)
    others = [f"qemu-system-{arch}" for arch in programs_for(image)]
    programs = given or list(dict.fromkeys([derived.argv[0], *others]))
    words = list(derived.vm)
    if derived.firmware is None or derived.firmware > _FIRMWARE_CEILING:
        return _Wanted(words, programs, derived.vm_uncertain)
    # Whatever is in it, the image has pages for all that is not zero.
    words += ["-bios", blank_file(folder, derived.firmware)]
    return _Wanted(words, programs, derived.vm_uncertain)


def _programs(image: Image) -> list[str]:
    """By the vCPUs, or by all that tells a command line, or by who has such a machine."""
    if found := programs_for(image):
        return [f"qemu-system-{arch}" for arch in found]
    with suppress(FixedRamError):
        return [command_line(image).argv[0]]
    return [f"qemu-system-{arch}" for arch in _architectures(image)]


def _planned(image: Image, options: Options, folder: Path, wanted: _Wanted) -> RehearsalPlan:
    """The QEMU that is wanted, made harmless; folder is where it runs.

    Raises UnsupportedError for what cannot be rehearsed, or where no QEMU is found.
    """
    shared = frozenset(block.name for block in image.blocks if block.ignored)
    rewriting = Rewriting(folder, Path.cwd(), shared)
    safe = harmless(wanted.words, rewriting)
    argv = (_program(wanted.programs), *safe, *arguments_around(options.loading))
    doubts = dict.fromkeys((*wanted.doubts, *rewriting.doubts))
    return RehearsalPlan(argv, tuple(rewriting.changes), tuple(doubts), tuple(safe))


def _program(names: Sequence[str]) -> str:
    """The first that is here, by its absolute path: QEMU runs in another folder."""
    for name in names:
        if path := shutil.which(name):
            return os.path.abspath(path)  # noqa: PTH100  a link's own name counts
    raise UnsupportedError(
        f"there is no {' or '.join(names)} here", hint="install it, or give it with --qemu PATH"
    )


def _architectures(image: Image) -> Sequence[str]:
    """Who has such a machine; UnsupportedError where that is nobody, or more than one."""
    name = image.machine
    for version in reversed(known_versions()) if name else ():
        known = known_in(version)
        having = known.architectures_of(name) if known and name else ()
        # What a 64-bit program has, its smaller brother has too.
        left = [arch for arch in having if _LARGER.get(arch) not in having]
        if len(left) == 1:
            return left
    raise UnsupportedError(
        "the image does not tell its architecture", hint="give the program with --qemu PATH"
    )


def plan_of(image: Image, options: Options) -> RehearsalPlan:
    """What rehearse() would start first; nothing is started, and its folder is not there."""
    with private_folder() as folder:
        return _planned(image, options, folder, _wanted(image, options, folder))


def rehearse(image: Image, options: Options) -> Rehearsal:
    """Start a paused QEMU with no disk, network or file to write, load the image, look, end it.

    Raises UnsupportedError where it cannot be begun: no QEMU, no qemu.qmp, arguments that cannot
    be made harmless; SourceError where temporary files find no room.
    """
    require_qmp()
    limit = options.timeout or _LIMIT + _PER_GIB * image.file_size / (1 << 30)
    clock = Clock(limit)
    with private_folder() as folder:
        tried = _Tries(image, options, folder, clock).go(_wanted(image, options, folder))
    made, plan, memory = tried.made, tried.plan, tried.made.memory
    return Rehearsal(
        path=image.source.name,
        qemu=StartedQemu(made.version, made.argv),
        status=made.status,
        seconds=round(clock.passed, 3),
        memory_equal=memory.equal if memory else None,
        memory=memory,
        messages=made.messages,
        causes=_causes(made.messages, image) if made.status != "completed" else (),
        adapted=tuple(tried.adapted),
        changed=plan.changed,
        uncertain=(*plan.uncertain, *tried.doubts),
        exit_code=made.exit_code,
    )


@dataclass(frozen=True, slots=True)
class _Tried:
    """The last try and its plan, and what was changed on the way to it."""

    made: Attempt
    plan: RehearsalPlan
    adapted: list[Adapted]
    doubts: list[str]


class _Tries:
    """Tries one after the other: as it is, then changed by what QEMU said."""

    def __init__(self, image: Image, options: Options, folder: Path, clock: Clock) -> None:
        self._image = image
        self._options = options
        self._folder = folder
        self._clock = clock
        self._doubts: list[str] = []
        self._sandbox = True

    def go(self, wanted: _Wanted) -> _Tried:
        """Try until it is loaded, nothing is known that would help, or there were enough."""
        adapted: list[Adapted] = []
        vm = Vm.of(wanted.words, self._options.accel, self._folder)
        made, plan = self._try(vm, wanted)
        seen = [(vm.words, vm.accel, list(vm.capabilities))]
        while (said := _complaints(made)) and len(adapted) < self._options.adapt:
            change = adapt(vm, said, self._image)
            state = (vm.words, vm.accel, list(vm.capabilities))
            if change is None or state in seen:
                break
            seen.append(state)
            adapted.append(change)
            made, plan = self._try(vm, wanted)
        return _Tried(made, plan, adapted, self._doubts)

    def _try(self, vm: Vm, wanted: _Wanted) -> tuple[Attempt, RehearsalPlan]:
        loading = replace(
            self._options.loading,
            accel=vm.accel,
            capabilities=tuple(vm.capabilities),
            sandbox=self._sandbox,
        )
        changed = replace(wanted, words=vm.words)
        plan = _planned(self._image, self._options, self._folder, changed)
        setting = Setting(plan.argv[0], self._folder, self._clock)
        made = attempt(self._image, plan.words, loading, setting)
        if made.status == "not-started" and self._sandbox and _lacks_sandbox(made.messages):
            self._sandbox = False
            self._doubts.append("this QEMU was built without -sandbox: it ran without it")
            return self._try(vm, wanted)
        return made, plan


def _complaints(made: Attempt) -> Sequence[str]:
    """What is to be changed; nothing where the image was loaded rightly."""
    if made.status in {"failed", "not-started"}:
        return made.messages
    return made.memory.notes if made.memory and made.memory.difference else ()


def _lacks_sandbox(messages: Sequence[str]) -> bool:
    return any("sandbox" in message or "seccomp" in message for message in messages)


def _causes(messages: Sequence[str], image: Image) -> tuple[Cause, ...]:
    """What QEMU's lines mean, the nearest cause first."""
    return diagnose("\n".join(messages), image).causes if messages else ()
