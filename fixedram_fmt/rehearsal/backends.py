"""What stands behind a device on the host, replaced by what leads nowhere.

The state of a device does not tell which backend it had, but for what it offered to the guest: a
tap with vhost offers more to virtio-net than a hub does.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.rehearsal.keyvalues import KeyValues

if TYPE_CHECKING:
    from fixedram_fmt.rehearsal.rewriting import Rewriting

__all__ = ["audio", "audiodev", "chardev", "fsdev", "net", "netdev", "nic", "object_", "serial"]

_HARMLESS_CHARDEVS = frozenset({"null", "ringbuf", "memory", "msmouse", "wctablet"})
_TALKS = "it would open a file, a socket or a terminal of the host"
_NETWORK = "no network: the device's peer is a hub that leads nowhere"
_RESTRICTED = "no network: slirp answers the guest, and lets nothing through"
#: Offered to the guest where the peer takes a virtio-net header: tap and vhost do, a hub does not.
_OFFLOADS = (
    "{name} had {kind}: checksum and segmentation offload of a virtio-net device need such a"
    " backend, which a rehearsal has not; a message about Features may come of that alone"
)
_WITH_HEADER = frozenset({"tap", "bridge", "vhost-user", "vhost-vdpa", "netmap", "af-xdp"})
#: -netdev hubport of ours; those of users begin at 0.
_FIRST_HUB = 1000


def chardev(rewriting: Rewriting, value: str) -> list[str]:
    """-chardev: what leads out of QEMU becomes null; its name stays."""
    given = KeyValues.of(value, "backend")
    if given.get("backend") in _HARMLESS_CHARDEVS and not given.get("logfile"):
        return ["-chardev", value]
    text = str(KeyValues({"backend": "null", **given.only("id", "mux")}, "backend"))
    rewriting.tell(f"-chardev {value}", f"-chardev {text}", _TALKS)
    return ["-chardev", text]


def serial(rewriting: Rewriting, option: str, value: str) -> list[str]:
    """-serial and its like: a port that there is stays, and leads nowhere."""
    if value in {"none", "null"} or value.startswith("chardev:"):
        return [f"-{option}", value]
    rewriting.tell(f"-{option} {value}", f"-{option} null", _TALKS)
    return [f"-{option}", "null"]


def netdev(rewriting: Rewriting, value: str) -> list[str]:
    """-netdev: a port of a hub of its own, by the same name; slirp, which has a state, stays."""
    given = KeyValues.of(value, "type")
    kind, name = given.get("type") or "", given.get("id") or ""
    if kind == "hubport":
        return ["-netdev", value]
    if kind == "user":
        return _apart(rewriting, "netdev", value, given.only("id"))
    number = rewriting.count("hub")
    text = str(KeyValues({"type": "hubport", "hubid": _FIRST_HUB + number, "id": name}, "type"))
    rewriting.tell(f"-netdev {value}", f"-netdev {text}", _NETWORK)
    _doubt_offloads(rewriting, kind, name)
    return ["-netdev", text]


def _apart(rewriting: Rewriting, option: str, value: str, kept: dict[str, Any]) -> list[str]:
    """slirp that lets nothing of the guest out and opens nothing on the host."""
    text = str(KeyValues({"type": "user", **kept, "restrict": "on"}, "type"))
    if text != value:
        rewriting.tell(f"-{option} {value}", f"-{option} {text}", _RESTRICTED)
    return [f"-{option}", text]


def nic(rewriting: Rewriting, value: str) -> list[str]:
    """-nic: the same card on a hub."""
    given = KeyValues.of(value, "type")
    kind = given.get("type") or "user"
    if kind in {"none", "hubport"}:
        return ["-nic", value]
    if kind == "user":
        return _apart(rewriting, "nic", value, given.only("id", "model", "mac", "macaddr", "addr"))
    hub = _FIRST_HUB + rewriting.count("hub")
    kept = given.only("id", "model", "mac", "macaddr", "addr")
    text = str(KeyValues({"type": "hubport", "hubid": hub, **kept}, "type"))
    rewriting.tell(f"-nic {value}", f"-nic {text}", _NETWORK)
    _doubt_offloads(rewriting, kind, given.get("id") or "the network card")
    return ["-nic", text]


def net(rewriting: Rewriting, value: str) -> list[str]:
    """-net: cards stay, what they are connected to does not."""
    kind = KeyValues.of(value, "type").get("type") or ""
    if kind in {"nic", "none", "hubport"}:
        return ["-net", value]
    if kind == "user":
        return _apart(rewriting, "net", value, {})
    rewriting.tell(f"-net {value}", "", _NETWORK)
    _doubt_offloads(rewriting, kind, "the network card")
    return []


def _doubt_offloads(rewriting: Rewriting, kind: str, name: str) -> None:
    if kind in _WITH_HEADER:
        rewriting.doubt(_OFFLOADS.format(name=name, kind=kind))


def fsdev(rewriting: Rewriting, value: str) -> list[str]:
    """-fsdev: a file system with no files."""
    given = KeyValues.of(value, "fsdriver")
    text = str(KeyValues({"fsdriver": "synth", **given.only("id")}, "fsdriver"))
    if given.get("fsdriver") != "synth":
        rewriting.tell(f"-fsdev {value}", f"-fsdev {text}", "no folder of the host is shown")
    return ["-fsdev", text]


def audiodev(rewriting: Rewriting, value: str) -> list[str]:
    """-audiodev: silence, by the same name."""
    given = KeyValues.of(value, "driver")
    if given.get("driver") == "none":
        return ["-audiodev", value]
    text = str(KeyValues({"driver": "none", **given.only("id")}, "driver", as_json=given.as_json))
    rewriting.tell(f"-audiodev {value}", f"-audiodev {text}", "no sound")
    return ["-audiodev", text]


def audio(rewriting: Rewriting, value: str) -> list[str]:
    """-audio: the same card, silent."""
    given = KeyValues.of(value, "driver")
    if given.get("driver") == "none":
        return ["-audio", value]
    text = str(KeyValues({"driver": "none", **given.only("id", "model")}, "driver"))
    rewriting.tell(f"-audio {value}", f"-audio {text}", "no sound")
    return ["-audio", text]


# -- objects --------------------------------------------------------------------------------------


class _Object(NamedTuple):
    """A type's pattern, and what becomes of it: `pass`, `drop`, `refuse`, or the type instead."""

    kind: str
    act: str
    why: str = ""


_OBJECTS = (
    _Object("memory-backend-ram", "pass"),
    _Object("memory-backend-*", "memory", "nothing is written to the file: memory is anonymous"),
    _Object("iothread", "pass"),
    _Object("main-loop", "pass"),
    _Object("thread-context", "drop", "no matter to a VM that stays paused"),
    _Object("throttle-group", "pass"),
    _Object("rng-builtin", "pass"),
    _Object("rng-*", "rng-builtin", "no file and no socket is opened"),
    _Object("can-bus", "pass"),
    _Object("can-host-*", "drop", "no bus of the host is opened"),
    _Object("cryptodev-backend", "pass"),
    _Object("cryptodev-backend-builtin", "pass"),
    _Object("cryptodev-*", "cryptodev-backend-builtin", "no program outside is asked"),
    _Object("acpi-generic-*", "pass"),
    _Object("secret*", "drop", "the disks that need it are not opened"),
    _Object("tls-*", "drop", "nothing is connected"),
    _Object("authz-*", "drop", "nothing is connected"),
    _Object("filter-*", "drop", "no network"),
    _Object("colo-compare", "drop", "no network"),
    _Object("input-*", "drop", "no keyboard and no mouse of the host is taken"),
    _Object("dbus-vmstate", "refuse", "its state is in a program outside"),
)  # fmt: skip
_BACKEND_KEPT = ("id", "size", "merge", "dump", "share", "x-use-canonical-path-for-ramblock-id",
                 "queues")  # fmt: skip


def object_(rewriting: Rewriting, value: str) -> list[str]:
    """-object, by its type; one that is not known is refused."""
    given = KeyValues.of(value, "qom-type")
    kind = given.get("qom-type") or ""
    row = next((one for one in _OBJECTS if fnmatchcase(kind, one.kind)), None)
    if row is None or row.act == "refuse":
        why = row.why if row else "the rehearsal does not know what it opens"
        raise UnsupportedError(f"-object {kind} cannot be rehearsed: {why}")
    if row.act == "pass":
        return ["-object", value]
    if row.act == "drop":
        rewriting.tell(f"-object {value}", "", row.why)
        return []
    made = _memory(rewriting, given) if row.act == "memory" else _kept(given, row.act)
    text = str(KeyValues(made, "qom-type", as_json=given.as_json))
    rewriting.tell(f"-object {value}", f"-object {text}", row.why)
    return ["-object", text]


def _kept(given: KeyValues, kind: str) -> dict[str, Any]:
    return {"qom-type": kind, **given.only("id", "queues")}


def _memory(rewriting: Rewriting, given: KeyValues) -> dict[str, Any]:
    """Anonymous memory; a file of ours, full of holes, where the image leaves shared blocks out.

    Upstream: QEMU migration/ram.c migrate_ram_is_ignored() asks for a shared block with a file.
    """
    name = given.get("id") or ""
    kept = given.only(*_BACKEND_KEPT)
    if name not in rewriting.shared_blocks:
        kept.pop("share", None)
        return {"qom-type": "memory-backend-ram", **kept}
    path = str(rewriting.folder / f"memory-{rewriting.count('memory')}")
    return {"qom-type": "memory-backend-file", **kept, "mem-path": path}
