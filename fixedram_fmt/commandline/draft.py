"""A command line that is being made: its parts, and the sections that are accounted for."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Draft"]


@dataclass(slots=True)
class Draft:
    """Arguments by kind, in the order in which QEMU needs them; claimed are sections' names.

    machine are properties behind the type, devices whole -device values (buses before what sits
    on them), others are options with their values (-drive, -netdev, -chardev) that devices name.
    """

    program: str = ""
    machine_type: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    cpu: str | None = None
    smp: str | None = None
    memory: str | None = None
    objects: list[str] = field(default_factory=list)
    globals: list[str] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    uncertain: list[str] = field(default_factory=list)
    claimed: set[tuple[str, int]] = field(default_factory=set)

    def claim(self, name: str, instance_id: int = 0) -> None:
        """Say that an argument here (or the machine itself) brings this section."""
        self.claimed.add((name, instance_id))

    def doubt(self, sentence: str) -> None:
        """Tell a part that is not certain, once."""
        if sentence not in self.uncertain:
            self.uncertain.append(sentence)

    def arguments(self) -> list[str]:
        """All of the VM, without the program."""
        machine = ",".join([self.machine_type, *(f"{k}={v}" for k, v in self.machine.items())])
        words = ["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"]
        words += ["-machine", machine]
        for name, value in (("-cpu", self.cpu), ("-smp", self.smp), ("-m", self.memory)):
            words += [name, value] if value is not None else []
        for one in self.objects:
            words += ["-object", one]
        for one in self.globals:
            words += ["-global", one]
        for name, value in self.others:
            words += [name, value]
        for one in self.devices:
            words += ["-device", one]
        return words
