"""Makes the sample images with a real QEMU: `python samples/make.py [-o DIR] [NAME...]`.

SAMPLES says for each sample how QEMU is started and what is done to it, and what there is to
learn from the image. Every guest runs our own code (samples/guest) or none at all, and no
machine gets a firmware or an option ROM, so that nothing in an image belongs to somebody else.

Beside the images goes MANIFEST.json with what QEMU itself said at the time: block lengths from
its monitor and hashes of guest-physical memory dumped after the save.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from build_guest import load
from qemu_vm import DEBUGCON_ARGS, QemuError, QemuVM, find_qemu
from sample_files import HERE, MANIFEST, Entry, pack, read_manifest, write_manifest

MIB = 1 << 20
PC_RAM = 24 * MIB

# A round over the guest's memory takes several sections, and the guest dirties pages faster than
# the downtime allowed could carry: the save goes on until we lift that limit. QEMU measures the
# bandwidth every 100 ms and until then spins through empty sections, thousands of them, unless
# it is so slow that it has pages left to write.
SLOW = {"max-bandwidth": MIB // 4, "downtime-limit": 1}

# What lies before the stream of pc-offset and does not belong to QEMU.
FOREIGN = b"These bytes belong to somebody else; the stream starts at byte 70001.\n"

# -S: a guest that starts before the monitor is ours could say "ready" to nobody.
COMMON = ("-S", "-accel", "tcg", "-rtc", "base=2020-01-01T00:00:00,clock=vm", "-seed", "1")
ONCE = ("-bios", "x86-once.bin", *DEBUGCON_ARGS)
LOOP = ("-bios", "x86-loop.bin", *DEBUGCON_ARGS)
PATTERN_DONE = "output:pattern done\n"
PATTERN_AT = "loader,file=pattern.bin,addr={:#x},force-raw=on"
DISK_IO = "qemu-io -d /machine/peripheral/blk0/virtio-backend"
PC_RANGES = ((0, 0xA0000), (1 * MIB, PC_RAM))

# Suffix of a sample's name, the machine's options, what it shows beside.
DESCRIBED_OR_NOT = (("", "", ""), ("-no-vmdesc", ",suppress-vmdesc=on", "; no description"))
NULL_DISK = "null-co,size=4194304,read-zeroes=on,node-name="
DEVICES = (
    *("-device", "qemu-xhci,id=xhci", "-device", "usb-tablet", "-device", "usb-kbd"),
    *("-blockdev", f"{NULL_DISK}disk0", "-device", "virtio-blk-pci,drive=disk0"),
    *("-blockdev", f"{NULL_DISK}disk1", "-device", "virtio-scsi-pci"),
    *("-device", "scsi-hd,drive=disk1"),
    *("-blockdev", f"{NULL_DISK}disk2", "-device", "ide-hd,drive=disk2,bus=ide.0"),
    *("-device", "virtio-serial-pci", "-device", "virtio-net-pci,romfile=,mac=52:54:00:00:00:01"),
    *("-device", "e1000,romfile=,mac=52:54:00:00:00:02"),
    *("-audiodev", "none,id=mute", "-device", "intel-hda", "-device", "hda-duplex,audiodev=mute"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """How one sample is made.

    `ready` is what to wait for before the save: "" (the guest is not started at all),
    "output:TEXT" from the guest's debugcon, or "event:NAME" from QEMU. `rounds` > 0 saves the
    running guest and lifts the downtime limit at that round. `hmp` lines run once the guest is
    ready. `ranges` are the guest-physical addresses dumped afterwards.
    """

    name: str
    arch: str
    args: tuple[str, ...]
    shows: str
    ready: str = ""
    capabilities: tuple[str, ...] = ("mapped-ram",)
    parameters: dict[str, object] = field(default_factory=dict)
    rounds: int = 0
    stream_offset: int = 0
    hmp: tuple[str, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    migration: str = "completed"

    @property
    def argv(self) -> tuple[str, ...]:
        """QEMU's arguments apart from the driver's own."""
        return (*COMMON, *self.args)


def _pc(name: str, shows: str, *args: str, machine: str = "pc", **more: Any) -> Sample:
    """A pc whose guest has written the pattern and halted (or goes on, when `rounds` is set)."""
    bios = LOOP if more.get("rounds") else ONCE
    argv = ("-machine", machine, "-m", "24", *args, *bios)
    more = {"ready": PATTERN_DONE, "ranges": PC_RANGES, **more}
    return Sample(name=name, arch="x86_64", args=argv, shows=shows, **more)


def _still(name: str, arch: str, base: int, mib: int, shows: str, *args: str) -> Sample:
    """A machine whose guest never runs; its RAM holds pattern.bin at 1 MiB."""
    return Sample(
        name=name,
        arch=arch,
        args=(*args, "-m", str(mib), "-device", PATTERN_AT.format(base + MIB)),
        shows=shows,
        ranges=((base, base + mib * MIB),),
    )


X86_SAMPLES = (
    _pc("pc-once", "the plain case: a stopped pc guest, mapped-ram, nothing else"),
    _pc(
        "pc-live",
        "a running guest: several RAM sections, and stale pages (bit clear, old data left)",
        rounds=4,
        parameters=SLOW,
    ),
    _pc(
        "pc-live-multifd-flush",
        "multifd with multifd-flush-after-each-section=on: no MULTIFD_FLUSH in the stream even so",
        *("-global", "migration.multifd-flush-after-each-section=on"),
        capabilities=("mapped-ram", "multifd"),
        rounds=4,
        parameters=SLOW | {"multifd-channels": 3},
    ),
    _pc(
        "pc-offset",
        "a stream at an unaligned offset of a file whose beginning belongs to somebody else; "
        "bitmap_offset and pages_offset count from the start of the file all the same",
        stream_offset=70001,
    ),
    _pc(
        "pc-no-vmdesc",
        "no JSON description at the end: the length of a device body is written nowhere",
        machine="pc,suppress-vmdesc=on",
    ),
    _pc(
        "pc-ignore-shared-none",
        "x-ignore-shared without any shared memory: the capability and each block's address are "
        "written, nothing is ignored; QEMU 10 cannot load what it wrote",
        capabilities=("mapped-ram", "x-ignore-shared"),
    ),
    _pc(
        "failed-ignore-shared",
        "QEMU 10 fails half way on shared memory under x-ignore-shared and leaves the file: "
        "plausible headers, empty bitmaps, no end",
        *("-object", "memory-backend-file,id=ram0,size=24M,mem-path=ram0.bin,share=on"),
        machine="pc,memory-backend=ram0",
        capabilities=("mapped-ram", "x-ignore-shared"),
        migration="failed",
    ),
    _pc(
        "microvm-uuid",
        "another machine, few devices, and a configuration section that carries the UUID",
        *("-uuid", "9f1c8a52-5a0e-4f83-9c41-0d8b1f5f2a77"),
        machine="microvm",
        capabilities=("mapped-ram", "validate-uuid"),
    ),
    _pc(
        "q35-dimm",
        "a named memory backend and a DIMM (a second RAM block, at 4 GiB), two CPUs, virtio",
        *("-m", "24,slots=1,maxmem=1G", "-smp", "2"),
        *("-object", "memory-backend-ram,id=ram0,size=24M"),
        *("-object", "memory-backend-ram,id=mem1,size=8M"),
        *("-device", "pc-dimm,id=dimm1,memdev=mem1"),
        *("-device", PATTERN_AT.format(0x1_0010_0000)),
        *("-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"),
        machine="q35,memory-backend=ram0",
        ranges=(*PC_RANGES, (0x1_0000_0000, 0x1_0080_0000)),
    ),
    *(
        _pc(
            f"q35-devices{suffix}",
            "devices with much state of their own (xhci, usb, virtio, e1000, intel-hda, ahci)"
            + shows,
            *DEVICES,
            machine=f"q35{option}",
        )
        for suffix, option, shows in DESCRIBED_OR_NOT
    ),
    _pc(
        "pc-dirty-bitmap",
        "block dirty bitmaps travel in a hand-coded section that the JSON description leaves out",
        *("-blockdev", "null-co,node-name=disk0,size=4194304,read-zeroes=on"),
        *("-device", "virtio-blk-pci,id=blk0,drive=disk0"),
        capabilities=("mapped-ram", "dirty-bitmaps"),
        parameters={"max-bandwidth": MIB // 4},
        hmp=(f'{DISK_IO} "write -P 1 64k 128k"', f'{DISK_IO} "write -P 1 3M 64k"'),
    ),
    _pc(
        "legacy-stream",
        "an ordinary stream for comparison: pages and zero pages lie in the RAM section itself",
        capabilities=(),
    ),
    _pc(
        "legacy-xbzrle",
        "an ordinary live stream with XBZRLE: later rounds send deltas",
        capabilities=("xbzrle",),
        rounds=4,
        parameters=SLOW | {"xbzrle-cache-size": 16 * MIB},
    ),
)

OTHER_SAMPLES = (
    _still(
        "aarch64-virt",
        "aarch64",
        1 << 30,
        16,
        "the target page size is in the configuration; two flash blocks of 64 MiB without a page",
        *("-machine", "virt,dtb-randomness=off", "-cpu", "cortex-a57"),
    ),
    _still(
        "riscv64-virt",
        "riscv64",
        1 << 31,
        16,
        "RAM that starts at 2 GiB",
        *("-machine", "virt", "-bios", "none"),
    ),
    _still(
        "m68k-virt",
        "m68k",
        0,
        16,
        "a big-endian guest on a little-endian host: the bitmap is the host's",
        *("-machine", "virt"),
    ),
    Sample(
        name="avr-uno",
        arch="avr",
        args=("-machine", "uno", "-bios", "avr.bin"),
        shows="pages of 256 bytes (1 KiB in later versions), and a block smaller than one piece",
        ranges=((0, 0x8000),),
    ),
    *(
        Sample(
            name=f"s390x-virtio{suffix}",
            arch="s390x",
            args=(
                *("-machine", f"s390-ccw-virtio{option}", "-m", "8", "-bios", "s390x.bin"),
                *("-no-shutdown", "-device", PATTERN_AT.format(MIB)),
            ),
            ready="event:SHUTDOWN",
            shows="storage keys in a hand-coded section; big-endian guest" + shows,
            ranges=((0, 8 * MIB),),
        )
        for suffix, option, shows in DESCRIBED_OR_NOT
    ),
    *(
        Sample(
            name=f"ppc64-pseries{suffix}",
            arch="ppc64",
            args=(
                *("-machine", f"pseries{option}", "-cpu", "power8", "-m", "256"),
                *("-bios", "ppc64.bin", "-chardev", "stdio,id=con,signal=off"),
                *("-device", "spapr-vty,reg=0x30000000,chardev=con"),
                *("-device", PATTERN_AT.format(16 * MIB)),
            ),
            ready="output:done\n",
            shows="the hash page table in a hand-coded section that comes in parts, like RAM"
            + shows,
            ranges=((0, 256 * MIB),),
        )
        for suffix, option, shows in DESCRIBED_OR_NOT
    ),
    *(
        _still(
            f"loongarch64-virt{suffix}",
            "loongarch64",
            0,
            64,
            "loongarch64: interrupt controllers with large state" + shows,
            *("-machine", f"virt{option}"),
        )
        for suffix, option, shows in DESCRIBED_OR_NOT
    ),
)

SAMPLES = {sample.name: sample for sample in (*X86_SAMPLES, *OTHER_SAMPLES)}

# Block dirty bitmaps of pc-dirty-bitmap: name, granularity in bytes, recording.
DIRTY_BITMAPS = (("backup0", 65536, True), ("scratch", 32768, False))


def write_guests(folder: Path) -> None:
    """Writes the guests as the samples' arguments name them; QEMU runs in that folder."""
    for name, data in load().items():
        (folder / f"{name}.bin").write_bytes(data)


def make(sample: Sample, output: Path) -> Entry:
    """Makes one sample in the folder `output`; its manifest entry. QemuError when it cannot."""
    binary = find_qemu(sample.arch)
    if binary is None:
        raise QemuError(f"qemu-system-{sample.arch} is not installed")
    with tempfile.TemporaryDirectory(prefix="samples-") as name:
        work = Path(name)
        write_guests(work)
        image = work / "image"
        with QemuVM(binary, cwd=work) as vm:
            vm.start(sample.argv)
            facts = save(vm, sample, image)
        target = output / f"{sample.name}.img.xz"
        size, sha256 = pack(image, target)
    return {"name": sample.name, "file": target.name, "size": size, "sha256": sha256} | facts


def save(vm: QemuVM, sample: Sample, image: Path) -> Entry:
    """Brings the guest to the point of the sample and saves it; what QEMU said about it."""
    _make_ready(vm, sample)
    if sample.stream_offset:
        text = FOREIGN * (sample.stream_offset // len(FOREIGN) + 1)
        image.write_bytes(text[: sample.stream_offset])
    status = vm.migrate_to_file(image, sample.stream_offset, rounds=sample.rounds)
    if status != sample.migration:
        reason = vm.query_migrate().get("error-desc", "")
        raise QemuError(f"{sample.name}: the migration {status} {reason}".rstrip())
    return {
        "qemu": vm.qemu_version,
        "command": " ".join((f"qemu-system-{sample.arch}", *vm.args)),
        "capabilities": list(sample.capabilities),
        "parameters": sample.parameters,
        "live": sample.rounds > 0,
        "stream_offset": sample.stream_offset,
        "migration": status,
        "blocks": vm.info_ramblock(),
        "guest_physical_sha256": [
            {"start": start, "end": end, "sha256": vm.pmemsave_sha256(start, end)}
            for start, end in sample.ranges
        ],
        "shows": sample.shows,
        "made_by": "samples/make.py",
    }


def _make_ready(vm: QemuVM, sample: Sample) -> None:
    kind, _, what = sample.ready.partition(":")
    if kind:
        vm.cont()
    if kind == "output":
        vm.wait_output(what.encode())
    elif kind == "event":
        vm.wait_event(lambda name, _: name == what)
    if kind and not sample.rounds:
        vm.stop()
    if "dirty-bitmaps" in sample.capabilities:
        for name, granularity, recording in DIRTY_BITMAPS:
            _add_bitmap(vm, name, granularity, disabled=not recording)
    for line in sample.hmp:
        if answer := vm.hmp(line).strip():
            raise QemuError(f"{line}: {answer}")
    vm.set_capabilities(*sample.capabilities)
    if sample.parameters:
        vm.set_parameters(sample.parameters)


def _add_bitmap(vm: QemuVM, name: str, granularity: int, *, disabled: bool) -> None:
    arguments = {"node": "disk0", "name": name, "granularity": granularity, "disabled": disabled}
    vm.execute("block-dirty-bitmap-add", arguments)


def main() -> int:
    """Command line; 0 when every sample was made."""
    parser = argparse.ArgumentParser(description="make the sample images with a real QEMU")
    parser.add_argument("names", nargs="*", metavar="NAME", help="samples to make; default: all")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="folder to write into")
    parser.add_argument("--list", action="store_true", help="list the samples and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{s.name:24}{s.shows}" for s in SAMPLES.values()))
        return 0
    if unknown := set(options.names) - set(SAMPLES):
        parser.error(f"no such sample: {', '.join(sorted(unknown))}")
    return _make_all(options.names or list(SAMPLES), options.output)


def _make_all(names: list[str], output: Path) -> int:
    output.mkdir(parents=True, exist_ok=True)
    manifest = output / MANIFEST.name
    failed = 0
    for name in names:
        try:
            entry = make(SAMPLES[name], output)
        except QemuError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed += 1
            continue
        entries = read_manifest(manifest) if manifest.exists() else {}
        write_manifest(manifest, entries | {name: entry})
        print(f"{name}: {(output / str(entry['file'])).stat().st_size} bytes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
