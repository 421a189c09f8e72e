"""A VM's arguments made harmless: nothing of the host is written, nobody outside is reached.

Each option goes through the table of fixedram_fmt.rehearsal.policy; what is not passed as it is, is
told as a ChangedArgument.  QEMU runs in a private folder: files that it reads are named by absolute
paths.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.rehearsal import backends, emptydisks
from fixedram_fmt.rehearsal.keyvalues import KeyValues
from fixedram_fmt.rehearsal.policy import OPTIONS, Act

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fixedram_fmt.rehearsal.rewriting import Rewriting

__all__ = ["harmless", "options_of"]

_REFUSED_DEVICES = (
    ("vfio-*", "it is a device of the host"),
    ("vhost-*", "a program or the kernel of the host has a part of it"),
    ("ivshmem-doorbell", "a program outside has a part of it"),
    ("usb-host", "it is a device of the host"),
    ("usb-mtp", "it gives a folder of the host to the guest"),
    ("scsi-block", "it is a disk of the host"),
    ("scsi-generic", "it is a disk of the host"),
    ("xen-*", "it needs Xen"),
    ("u2f-passthru", "it is a device of the host"),
    ("virtio-input-host*", "it is a device of the host"),
    ("ccid-card-emulated", "it reads the host's certificates"),
    ("x-remote-*", "a program outside has a part of it"),
    ("x-pci-proxy-dev", "a program outside has a part of it"),
)
#: They put files into memory, which the image then fills.
_LOADERS = frozenset({"loader", "guest-loader"})
#: Properties of machines that write files, or that the rehearsal decides on.
_MACHINE_DROPPED = frozenset({"accel", "dumpdtb"})
#: Keys whose values are names of files that QEMU reads.
#: What a rehearsal does by itself.
_ANYWAY = frozenset({("display", "none"), ("monitor", "none")})
_READ_KEYS = ("file", "data", "path", "romfile", "kernel", "initrd", "dtb", "firmware", "splash")


def options_of(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Options with their values, names without hyphens; a word of no option is a disk, as -hda.

    Raises UnsupportedError for an option that is not in the table, or that lacks its value.
    """
    left = iter(words)
    for word in left:
        if not word.startswith("-") or word == "-":
            yield "hda", word
            continue
        name = word.lstrip("-") if word.startswith("--") else word[1:]
        policy = OPTIONS.get(name)
        if policy is None:
            raise UnsupportedError(
                f"the rehearsal does not know QEMU's option {word[:80]!r}, and starts nothing with"
                " an option that it does not know",
                hint="leave it out",
            )
        value = next(left, None) if policy.valued else None
        if policy.valued and value is None:
            raise UnsupportedError(f"QEMU's option {word!r} lacks its value")
        yield name, value


def harmless(words: Sequence[str], rewriting: Rewriting) -> list[str]:
    """The arguments that QEMU is given; changes and doubts of rewriting tell what is otherwise.

    Raises UnsupportedError for what cannot be rehearsed.
    """
    made: list[str] = []
    seen = set()
    for name, value in options_of(words):
        seen.add(name)
        made += _rewritten(rewriting, name, value)
    if not seen & {"nodefaults", "net", "nic", "netdev"}:
        # The network card that QEMU adds by itself, without its network (system/vl.c default_net).
        made += ["-net", "nic"]
    return made


def _rewritten(rewriting: Rewriting, name: str, value: str | None) -> list[str]:
    policy = OPTIONS[name]
    if policy.act is Act.REFUSE:
        raise UnsupportedError(f"-{name} cannot be rehearsed: {policy.why}", hint="leave it out")
    if policy.act is Act.DROP:
        if policy.why and (name, value) not in _ANYWAY:
            rewriting.tell(f"-{name} {value}" if value is not None else f"-{name}", "", policy.why)
        return []
    if value is None:
        return [f"-{name}"]
    if policy.act is Act.PASS:
        return [f"-{name}", value]
    return _REWRITERS[policy.act](rewriting, name, value)


# -- what is neither a disk nor a backend ---------------------------------------------------------


def _file(rewriting: Rewriting, option: str, value: str) -> list[str]:
    return [f"-{option}", rewriting.found(value)]


def _files(rewriting: Rewriting, option: str, value: str) -> list[str]:
    """Values with names of files that are read, made absolute; others stay to the letter."""
    given = KeyValues.of(value, "driver" if option == "device" else "")
    changed = {
        key: rewriting.found(text)
        for key, text in given.members.items()
        if key in _READ_KEYS and isinstance(text, str)
    }
    if all(given.members[key] == text for key, text in changed.items()):
        return [f"-{option}", value]
    given.members.update(changed)
    return [f"-{option}", str(given)]


def _machine(rewriting: Rewriting, option: str, value: str) -> list[str]:
    given = KeyValues.of(value, "type")
    dropped = [key for key in given.members if key in _MACHINE_DROPPED]
    for key in dropped:
        del given.members[key]
    if dropped:
        rewriting.tell(f"-{option} {value}", f"-machine {given}", f"without {', '.join(dropped)}")
    return _files(rewriting, "machine", str(given)) if given.members else []


def _device(rewriting: Rewriting, option: str, value: str) -> list[str]:
    driver = KeyValues.of(value, "driver").get("driver") or ""
    for pattern, why in _REFUSED_DEVICES:
        if fnmatchcase(driver, pattern):
            raise UnsupportedError(f"-device {driver} cannot be rehearsed: {why}")
    if driver in _LOADERS:
        why = "what it puts into memory, the image fills anyway"
        rewriting.tell(f"-{option} {value}", "", why)
        return []
    return _files(rewriting, option, value)


def _icount(_rewriting: Rewriting, option: str, value: str) -> list[str]:
    if KeyValues.of(value, "shift").get("rr", "rrfile"):
        raise UnsupportedError("-icount rr= cannot be rehearsed: it records, or plays a record")
    return [f"-{option}", value]


def _unnamed(
    function: Callable[[Rewriting, str], list[str]],
    rewriting: Rewriting,
    _option: str,
    value: str,
) -> list[str]:
    return function(rewriting, value)


_REWRITERS: dict[Act, Callable[[Rewriting, str, str], list[str]]] = {
    Act.FILE: _file,
    Act.FILES: _files,
    Act.MACHINE: _machine,
    Act.DEVICE: _device,
    Act.ICOUNT: _icount,
    Act.MEDIUM: emptydisks.medium,
    Act.SERIAL: backends.serial,
    Act.OBJECT: partial(_unnamed, backends.object_),
    Act.DRIVE: partial(_unnamed, emptydisks.drive),
    Act.BLOCKDEV: partial(_unnamed, emptydisks.blockdev),
    Act.CHARDEV: partial(_unnamed, backends.chardev),
    Act.NETDEV: partial(_unnamed, backends.netdev),
    Act.NIC: partial(_unnamed, backends.nic),
    Act.NET: partial(_unnamed, backends.net),
    Act.FSDEV: partial(_unnamed, backends.fsdev),
    Act.AUDIODEV: partial(_unnamed, backends.audiodev),
    Act.AUDIO: partial(_unnamed, backends.audio),
}
