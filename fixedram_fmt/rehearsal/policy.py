"""What becomes of each option of QEMU in a rehearsal: a table.

Names are those of QEMU's qemu-options.hx (10.0, 11.1, and older ones that are gone).  A rehearsal
runs nothing that it does not know: an option that is not here is refused, by its name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["OPTIONS", "Act", "Policy"]


class Act(StrEnum):
    """pass: as it is; it opens nothing, or reads.  drop: no matter to the state of a paused VM.

    refuse: the rehearsal is not begun.  The others are functions that rewrite the value, by name
    (fixedram_fmt.rehearsal.harmless).
    """

    PASS = "pass"
    DROP = "drop"
    REFUSE = "refuse"
    FILE = "file"
    FILES = "files"
    MACHINE = "machine"
    DEVICE = "device"
    OBJECT = "object"
    DRIVE = "drive"
    BLOCKDEV = "blockdev"
    MEDIUM = "medium"
    CHARDEV = "chardev"
    SERIAL = "serial"
    NETDEV = "netdev"
    NIC = "nic"
    NET = "net"
    FSDEV = "fsdev"
    AUDIODEV = "audiodev"
    AUDIO = "audio"
    ICOUNT = "icount"


class Policy(NamedTuple):
    """Whether the option takes a value, what becomes of it, and why."""

    valued: bool
    act: Act
    why: str = ""


#: (names, Policy): flags first.
_ROWS: tuple[tuple[str, Policy], ...] = (
    # -- no value
    (
        "nodefaults no-user-config usb no-reboot no-shutdown no-fd-bootchk win2k-hack no-hpet"
        " no-acpi only-migratable",
        Policy(False, Act.PASS),
    ),
    ("S snapshot preconfig", Policy(False, Act.DROP)),
    ("nographic full-screen alt-grab ctrl-grab no-quit sdl curses no-frame",
     Policy(False, Act.DROP, "nothing is shown")),
    ("enable-kvm", Policy(False, Act.DROP, "--accel says which accelerator")),
    ("daemonize", Policy(False, Act.DROP, "the rehearsal waits for its QEMU")),
    ("mem-prealloc enable-sync-profile xen-attach xen-domid-restrict",
     Policy(False, Act.DROP, "no matter to a VM that stays paused")),
    ("perfmap jitdump", Policy(False, Act.DROP, "it writes files")),
    ("s semihosting", Policy(False, Act.DROP, "no debugger, and no calls of the guest")),
    ("singlestep one-insn-per-tb", Policy(False, Act.DROP, "nothing is run")),
    # -- passed
    (
        "cpu smp m numa global boot k name uuid seed rtc g msg vga compat append prom-env action"
        " watchdog watchdog-action echr usbdevice",
        Policy(True, Act.PASS),
    ),
    # -- read by QEMU
    ("bios kernel initrd dtb option-rom L shim", Policy(True, Act.FILE)),
    ("fw_cfg smbios acpitable", Policy(True, Act.FILES)),
    # -- left out
    ("accel", Policy(True, Act.DROP, "--accel says which accelerator")),
    ("incoming loadvm", Policy(True, Act.DROP, "the rehearsal loads the image itself")),
    ("display vnc spice", Policy(True, Act.DROP, "nothing is shown")),
    ("monitor qmp qmp-pretty mon gdb",
     Policy(True, Act.DROP, "the rehearsal has a monitor of its own, and nobody else has one")),
    ("pidfile D d dfilter trace dump-vmstate writeconfig",
     Policy(True, Act.DROP, "it writes a file")),
    ("sandbox runas run-with chroot",
     Policy(True, Act.DROP, "the rehearsal confines its QEMU itself")),
    ("mem-path", Policy(True, Act.DROP, "memory is anonymous: nothing is written to the file")),
    ("overcommit tb-size xen-domid semihosting-config iscsi add-fd",
     Policy(True, Act.DROP, "no matter to a VM that stays paused, or without its disks")),
    # -- rewritten
    ("machine M", Policy(True, Act.MACHINE)),
    ("device", Policy(True, Act.DEVICE)),
    ("object", Policy(True, Act.OBJECT)),
    ("drive", Policy(True, Act.DRIVE)),
    ("blockdev", Policy(True, Act.BLOCKDEV)),
    ("hda hdb hdc hdd cdrom fda fdb sd mtdblock pflash", Policy(True, Act.MEDIUM)),
    ("chardev", Policy(True, Act.CHARDEV)),
    ("serial parallel debugcon virtioconsole", Policy(True, Act.SERIAL)),
    ("netdev", Policy(True, Act.NETDEV)),
    ("nic", Policy(True, Act.NIC)),
    ("net", Policy(True, Act.NET)),
    ("fsdev", Policy(True, Act.FSDEV)),
    ("audiodev", Policy(True, Act.AUDIODEV)),
    ("audio", Policy(True, Act.AUDIO)),
    ("icount", Policy(True, Act.ICOUNT)),
    # -- refused
    ("readconfig set", Policy(True, Act.REFUSE, "it changes other arguments out of sight")),
    ("plugin", Policy(True, Act.REFUSE, "it runs a program inside QEMU")),
    ("virtfs", Policy(True, Act.REFUSE, "it gives a folder of the host to the guest")),
    ("tpmdev", Policy(True, Act.REFUSE, "a TPM has its state outside the image")),
    ("h help version", Policy(False, Act.REFUSE, "nothing would be started")),
)  # fmt: skip

#: By the option's name, without its hyphens.
OPTIONS: dict[str, Policy] = {name: policy for names, policy in _ROWS for name in names.split()}
