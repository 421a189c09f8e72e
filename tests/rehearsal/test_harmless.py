"""What becomes of a VM's arguments in a rehearsal."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.rehearsal.harmless import harmless
from fixedram_fmt.rehearsal.keyvalues import KeyValues
from fixedram_fmt.rehearsal.policy import OPTIONS, Act
from fixedram_fmt.rehearsal.rewriting import Rewriting

_ND = "-nodefaults"


@pytest.fixture
def rewriting(tmp_path: Path) -> Rewriting:
    (tmp_path / "run").mkdir()
    (tmp_path / "disk.raw").write_bytes(bytes(5 << 20))
    qcow2 = b"QFI\xfb" + bytes(20) + (7 << 20).to_bytes(8, "big")
    (tmp_path / "disk.qcow2").write_bytes(qcow2)
    (tmp_path / "bios.bin").write_bytes(b"x")
    return Rewriting(tmp_path / "run", tmp_path, frozenset({"shared"}))


def made(rewriting: Rewriting, words: str) -> str:
    return shlex.join(harmless([_ND, *shlex.split(words)], rewriting)).removeprefix(f"{_ND} ")


@pytest.mark.parametrize(
    "words",
    [
        "-machine pc,usb=on -cpu max,+avx -smp 2 -m 1G",
        "-device virtio-net-pci,id=n,mac=52:54:00:12:34:56 -global PIIX4_PM.x=on",
        "-object memory-backend-ram,id=m,size=1G -object iothread,id=i",
        "-netdev hubport,id=n,hubid=3 -chardev null,id=c -serial none",
        "-blockdev null-co,node-name=d,size=4096 -drive if=none,id=cd,media=cdrom",
        '-device \'{"driver": "virtio-rng-pci", "id": "r"}\'',
    ],
)
def test_what_opens_nothing_is_passed_to_the_letter(rewriting: Rewriting, words: str) -> None:
    assert shlex.split(made(rewriting, words)) == shlex.split(words)
    assert rewriting.changes == []


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        ("-drive file=disk.raw,if=virtio,format=raw,id=d,cache=none",
         "-drive if=virtio,id=d,driver=null-co,size=5242880,read-zeroes=on"),
        ("-drive file=disk.qcow2,if=none,id=d",
         "-drive if=none,id=d,driver=null-co,size=7340032,read-zeroes=on"),
        ("-drive file=disk.qcow2,if=none,id=d,format=raw",
         "-drive if=none,id=d,driver=null-co,size=32,read-zeroes=on"),
        ("-hda disk.qcow2", "-drive index=0,media=disk,driver=null-co,size=7340032,read-zeroes=on"),
        ("disk.raw", "-drive index=0,media=disk,driver=null-co,size=5242880,read-zeroes=on"),
        ("-pflash disk.raw", "-drive if=pflash,driver=null-co,size=5242880,read-zeroes=on"),
        ("-fda absent", "-drive if=floppy,index=0,driver=null-co,size=1474560,read-zeroes=on"),
        ("-blockdev file,filename=disk.qcow2,node-name=f -blockdev qcow2,file=f,node-name=d",
         "-blockdev null-co,node-name=f,size=32,read-zeroes=on"
         " -blockdev null-co,node-name=d,size=7340032,read-zeroes=on"),
        ("-chardev socket,path=/run/x,id=c,server=on", "-chardev null,id=c"),
        ("-chardev ringbuf,id=c,logfile=/etc/passwd", "-chardev null,id=c"),
        ("-serial file:/etc/passwd -parallel /dev/lp0", "-serial null -parallel null"),
        ("-netdev tap,id=n,script=/bin/x -device e1000,netdev=n",
         "-netdev hubport,hubid=1000,id=n -device e1000,netdev=n"),
        ("-nic user,model=e1000,mac=52:54:00:00:00:01,hostfwd=tcp::22-:22",
         "-nic user,model=e1000,mac=52:54:00:00:00:01,restrict=on"),
        ("-nic tap,model=e1000,mac=52:54:00:00:00:01,script=/bin/x",
         "-nic hubport,hubid=1000,model=e1000,mac=52:54:00:00:00:01"),
        ("-netdev user,id=n,smb=/,guestfwd=tcp:1.2.3.4:5-cmd:/bin/x,tftp=/",
         "-netdev user,id=n,restrict=on"),
        ("-net nic,model=ne2k_pci -net tap", "-net nic,model=ne2k_pci"),
        ("-net nic,model=ne2k_pci -net user,hostfwd=tcp::22-:22",
         "-net nic,model=ne2k_pci -net user,restrict=on"),
        ("-object memory-backend-file,id=m,size=1M,mem-path=/dev/shm/x,share=on",
         "-object memory-backend-ram,id=m,size=1M"),
        ("-object memory-backend-file,id=shared,size=1M,mem-path=/x,share=on",
         "-object memory-backend-file,id=shared,size=1M,share=on,mem-path={run}/memory-0"),
        ("-object rng-random,id=r,filename=/dev/hwrng", "-object rng-builtin,id=r"),
        ("-audiodev wav,id=a,path=/etc/x", "-audiodev none,id=a"),
        ("-fsdev local,id=f,path=/,security_model=none", "-fsdev synth,id=f"),
        ("-machine q35,accel=kvm,dumpdtb=/etc/x", "-machine q35"),
        ("-bios bios.bin", "-bios {base}/bios.bin"),
        ("-device e1000,romfile=bios.bin", "-device e1000,romfile={base}/bios.bin"),
        ("-bios bios-256k.bin", "-bios bios-256k.bin"),
    ],
)  # fmt: skip
def test_what_the_host_would_see_is_rewritten(
    rewriting: Rewriting, words: str, instead: str
) -> None:
    expected = instead.format(run=rewriting.folder, base=rewriting.base)
    assert made(rewriting, words) == expected


@pytest.mark.parametrize(
    "words",
    [
        "-daemonize", "-pidfile /x", "-D /x", "-d cpu", "-trace file=/x", "-qmp unix:/x,server=on",
        "-monitor tcp::4444", "-gdb tcp::1", "-incoming exec:/x", "-mem-path /dev/shm", "-vnc :1",
        "-accel kvm", "-enable-kvm", "-dump-vmstate /x", "-device loader,file=/x", "-mon chardev=c",
        "-object secret,id=s,file=/x", "-runas nobody", "-sandbox off", "-net tap",
    ],
)  # fmt: skip
def test_what_is_no_matter_is_left_out_and_told(rewriting: Rewriting, words: str) -> None:
    assert harmless([_ND, *words.split()], rewriting) == [_ND]
    assert [one.instead for one in rewriting.changes] == [""]
    assert rewriting.changes[0].why


@pytest.mark.parametrize(
    "words",
    [
        "-device vfio-pci,host=01:00.0", "-device vhost-vsock-pci,guest-cid=3", "-readconfig x",
        "-plugin x.so", "-set device.x.y=z", "-tpmdev passthrough,id=t", "-object x-unknown,id=x",
        "-virtfs local,path=/,mount_tag=x", "-unknown", "--unknown", "-m", "-version",
        "-icount shift=1,rr=record,rrfile=/x", "-device {broken", "-object dbus-vmstate,id=x",
    ],
)  # fmt: skip
def test_what_cannot_be_made_harmless_is_refused_by_name(rewriting: Rewriting, words: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        harmless(words.split(), rewriting)
    assert words.split(maxsplit=1)[0].lstrip("-").split(",")[0] in str(caught.value) or "{" in words


def test_the_network_card_that_qemu_adds_by_itself_stays(rewriting: Rewriting) -> None:
    assert harmless(["-m", "1G"], rewriting) == ["-m", "1G", "-net", "nic"]
    assert harmless(["-nic", "none"], rewriting) == ["-nic", "none"]


def test_no_option_that_is_passed_names_a_file_to_write() -> None:
    writing = {"D", "pidfile", "trace", "dump-vmstate", "writeconfig", "serial", "qmp", "chardev"}
    writing |= {"drive", "blockdev", "hda", "cdrom", "pflash", "mem-path", "monitor", "perfmap"}
    assert not [name for name in writing if OPTIONS[name].act is Act.PASS]


@pytest.mark.parametrize("text", ["a", "a,b=c", "a,b=x,,y,c=on", "k=v,l=w", "a,,b,c=d", "a,flag"])
def test_values_come_back_as_they_were(text: str) -> None:
    assert str(KeyValues.of(text, "first")) == text
