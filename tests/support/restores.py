"""VM configurations, saved and restored into one another by a real QEMU, beside the verdicts.

Lines are what QEMU writes without its name.  QEMUs are processes of their own and are bounded in
time, so threads are enough to wait for them.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fixedram_fmt import Image
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validation import Receiver, validate
from qemu_vm import QemuError, QemuVM, require_qemu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fixedram_fmt.validation import Verdict

__all__ = [
    "Group", "Loaded", "Restore", "groups", "judge", "load", "pairs_of", "restores", "save",
]  # fmt: skip

_TABLE = Path(__file__).parent.parent / "interop" / "restores.toml"
#: With a clock that is the guest's, two saves of one configuration are alike.
_COMMON = ("-accel", "tcg", "-rtc", "base=2020-01-01T00:00:00,clock=vm")
#: A restore that hangs counts as a crash.
_TIME_LIMIT = 20
_PREFIX = re.compile(r"^qemu-system-\w+: ")
_THREADS = 2
#: What a verdict says where QEMU does this; whether memory is right is asked in test_verdicts.
_MEANS = {
    "completed": (Outcome.LOADS, Outcome.WRONG_MEMORY),
    "failed": (Outcome.REFUSES,),
    "crashed": (Outcome.CRASHES,),
}


@dataclass(frozen=True)
class Group:
    """Configurations of one machine that are restored into one another: arguments by name."""

    name: str
    arch: str
    variants: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Loaded:
    """How a load ended: `completed`, `failed` or `crashed`; what QEMU wrote, without its name."""

    status: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Restore:
    """One restore: the name of the image and of the receiver, what was said, what came of it."""

    image: str
    receiver: str
    verdict: Verdict
    loaded: Loaded

    @property
    def agrees(self) -> bool:
        """Whether QEMU did what the verdict says."""
        return self.verdict.outcome in _MEANS[self.loaded.status]

    @property
    def refused(self) -> bool:
        """Whether QEMU refused, as the verdict says."""
        return self.agrees and self.loaded.status == "failed"

    @property
    def same_words(self) -> bool:
        """Whether QEMU wrote the verdict's message, which is whole lines."""
        message = self.verdict.message
        return bool(message) and f"\n{message}\n" in "\n".join(("", *self.loaded.lines, ""))

    def __str__(self) -> str:
        rule = self.verdict.decided_by.rule.id if self.verdict.decided_by else "nothing"
        return (
            f"{self.image} into {self.receiver}: said {self.verdict.outcome} ({rule},"
            f" {self.verdict.message!r}), QEMU {self.loaded.status} {self.loaded.lines[:2]}"
        )


def groups() -> dict[str, Group]:
    """All of restores.toml."""
    table = tomllib.loads(_TABLE.read_text("utf-8"))
    machines = table.pop("machines")
    found = {}
    for name, group in table.items():
        arch, *machine = shlex.split(machines[group.pop("machine")])
        shared = [*_COMMON, "-S", *machine, *shlex.split(group.pop("with", ""))]
        variants = {one: (*shared, *shlex.split(own)) for one, own in group.items()}
        found[name] = Group(name, arch, variants)
    return found


def pairs_of(names: Sequence[str]) -> list[tuple[str, str]]:
    """Each with itself, with the first, and with the next where that is of its family; both ways.

    A family's names have the word before the first hyphen in common.
    """
    ways = [(names[0], other) for other in names[1:]]
    followed = zip(names[1:], names[2:], strict=False)
    ways += [pair for pair in followed if len({one.partition("-")[0] for one in pair}) == 1]
    return [*((one, one) for one in names), *ways, *(pair[::-1] for pair in ways)]


def save(arch: str, args: Sequence[str], path: Path) -> None:
    """Saves a VM as it is after its start."""
    with QemuVM(require_qemu(arch), timeout=_TIME_LIMIT) as vm:
        vm.start(args)
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(path) == "completed", (args, vm.stderr)


def load(
    arch: str,
    args: Sequence[str],
    image: Path,
    offset: int = 0,
    *,
    capabilities: Sequence[str] = ("mapped-ram",),
    cwd: Path | None = None,
) -> Loaded:
    """What a real QEMU does with an image; it writes its last line only where it is to exit."""
    with QemuVM(require_qemu(arch), timeout=_TIME_LIMIT, cwd=cwd) as vm:
        vm.start((*args, "-incoming", "defer"))
        vm.set_capabilities(*capabilities)
        last = ""
        try:
            status = vm.incoming_from_file(image, offset)
            last = str(vm.query_migrate().get("error-desc", ""))
        except (QemuError, TimeoutError):
            status = "crashed"
            with suppress(QemuError):
                vm.wait_exit()  # then all that it writes is there
        # A line without an end has the next one behind it.
        text = re.sub(r"(?<!^)(?=qemu-system-\w+: )", "\n", f"{vm.stderr}\n{last}", flags=re.M)
    lines = (_PREFIX.sub("", line) for line in text.split("\n"))
    return Loaded(status, tuple(one for one in lines if one and not one.startswith("warning: ")))


def judge(image: Path | str, receiver: Receiver, loader: str = "qemu-10.0") -> Verdict:
    """The verdict on an image (PATH or PATH@OFFSET) for a receiver."""
    with Image.open(image) as opened:
        return validate(opened, receiver).verdict(LOADERS[loader], multifd=False)


def restores(
    names: Iterable[tuple[str, str]],
    image_of: Callable[[str], Path],
    start: Callable[[str], tuple[str, Sequence[str]]],
) -> list[Restore]:
    """Judges and restores pairs of names: image and receiver.

    image_of gives the save of a name, start the architecture and arguments of the VM with it.
    """
    chosen = list(names)
    receivers: dict[str, Receiver] = {}
    for one in {receiver for _, receiver in chosen}:
        with Image.open(image_of(one)) as like:
            receivers[one] = Receiver.of_image(like)

    def restored(pair: tuple[str, str]) -> Restore:
        image, receiver = pair
        arch, args = start(receiver)
        verdict = judge(image_of(image), receivers[receiver])
        return Restore(image, receiver, verdict, load(arch, args, image_of(image)))

    with ThreadPoolExecutor(_THREADS) as workers:
        return list(workers.map(restored, chosen))
