"""A Linux guest: the kernel of .ci/install-linux, and an initrd that says what it is up to."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from qemu_vm import missing

__all__ = ["INIT_SAYS", "RIGHT", "WRONG", "checking_initrd", "initrd", "kernel_of_linux"]

#: Where .ci/install-linux puts a kernel; one in /boot will do too.
_FETCHED = Path(os.environ.get("FIXEDRAM_LINUX", "/var/tmp/fixedram-linux"))
#: write(1, "init is up\n", 11), then pause() for ever.
_INIT = bytes.fromhex("b801000000 bf01000000 488d3510000000 ba0b000000 0f05 b822000000 0f05 ebf7")
#: What init says.
INIT_SAYS = b"init is up"


#: Fills 8 MiB with x = 1, then x * 6364136223846793005 + 1442695040888963407, and so on, and for
#: ever compares all of it, says RIGHT or WRONG, and sleeps for 50 ms; once it is wrong it waits.
_CHECKING = bytes.fromhex(
    "488d1dc9000000"  # lea rbx, data
    "49b82d7f954c2df45158 49b94f8167f77e7b0514"  # mov r8, factor; mov r9, summand
    "4889df e85c000000"  # mov rdi, rbx; call begin
    "48ab 490fafc0 4c01c8 ffc9 75f3"  # fill: stosq; imul rax, r8; add rax, r9; dec ecx; jnz fill
    "4889df e847000000"  # check: mov rdi, rbx; call begin
    "483907 752d 4883c708"  # next: cmp [rdi], rax; jne wrong; add rdi, 8
    "490fafc0 4c01c8 ffc9 75ec"  # imul rax, r8; add rax, r9; dec ecx; jnz next
    "488d3559000000 e832000000"  # lea rsi, right_text; call write
    "488d3d3d000000 31f6 b823000000 0f05 ebc6"  # nanosleep(pause, NULL); jmp check
    "488d354b000000 e814000000 b822000000 0f05 ebeb"  # wrong: write wrong_text; pause(); jmp wrong
    "b900001000 b801000000 c3"  # begin: mov ecx, 1 << 20; mov eax, 1; ret
    "ba10000000 bf01000000 b801000000 0f05 c3"  # write: write(1, rsi, 16); ret
    "0000000000000000 80f0fa0200000000"  # pause: 0 s, 50,000,000 ns
)
#: What the guest says of its memory, again and again.
RIGHT, WRONG = b"memory is right", b"memory is wrong"
_PATTERN_ROOM = 8 << 20


def _program(code: bytes, room: int = 0) -> bytes:
    """An ELF program of one segment, which may write to itself and to the room behind it."""
    base, start = 0x400000, 64 + 56
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    size = start + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, size, size + room, 0x1000)
    return head + segment + code


def _cpio(files: list[tuple[str, int, bytes, tuple[int, int]]]) -> bytes:
    """An archive of the form that the kernel unpacks: names, modes, contents, device numbers."""
    out = b""
    for number, (name, mode, content, device) in enumerate(
        [*files, ("TRAILER!!!", 0, b"", (0, 0))]
    ):
        values = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
        entry = b"070701" + b"".join(b"%08x" % value for value in values) + name.encode() + b"\0"
        entry += bytes(-len(entry) % 4) + content
        out += entry + bytes(-len(entry) % 4)
    return out


def initrd() -> bytes:
    """An initrd whose init says INIT_SAYS on the console and waits."""
    return _archive(_program(_INIT + INIT_SAYS + b"\n"))


def checking_initrd() -> bytes:
    """An initrd whose init fills memory and says all the time whether it is as it was filled."""
    code = (_CHECKING + RIGHT + b"\n" + WRONG + b"\n").ljust(208, b"\0")
    return _archive(_program(code, _PATTERN_ROOM))


def _archive(program: bytes) -> bytes:
    return _cpio(
        [
            ("dev", 0o40755, b"", (0, 0)),
            ("dev/console", 0o20600, b"", (5, 1)),
            ("init", 0o100755, program, (0, 0)),
        ]
    )


def kernel_of_linux() -> str:
    """Path of the kernel; skips (or fails) the running test when there is none."""
    kernels = [*_FETCHED.glob("boot/vmlinuz-*"), *Path("/boot").glob("vmlinuz-*-amd64")]
    kernel = next((str(path) for path in kernels if os.access(path, os.R_OK)), None)
    if kernel is None:
        missing("there is no Linux kernel: .ci/install-linux fetches one")
    return kernel
