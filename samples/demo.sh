#!/bin/sh
# A walk through real images, and images made here: what `make demo` shows. $1 is the folder of the
# commands. PAUSE=1 waits for Enter between the steps.
set -eu
bin=$1
sample=samples/pc-live.img.xz
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

title() { printf '\n\033[1m# %s\033[0m\n' "$1"; }

step() {
    title "$1"
    shift
    printf '\033[2m$ fixedram %s\033[0m\n' "$*"
    "$bin/fixedram" "$@"
    if [ "${PAUSE:-}" = 1 ]; then printf '(Enter)'; read -r _; fi
}

step "A guest that QEMU 10 saved while it ran: what is in the file?" info "$sample"
step "Every byte has an owner; --deep finds pages that hold old memory." dump "$sample" --deep
step "The header of one block, byte by byte." dump "$sample" --offset 0x72 --bytes
step "The same kind of guest in a libvirt save image (virsh save --image-format sparse)." \
    info samples/libvirt-fx-sparse.save.xz
step "What was the guest doing?  Its devices say it." state samples/q35-dimm.img.xz --summary
step "One register of each CPU, with its place in the file." \
    state samples/q35-dimm.img.xz 'cpu*/env.eip' --offsets
step "The reset vector, at its guest-physical address." \
    read samples/q35-dimm.img.xz --phys 0xfffffff0 16
step "What changed between two saves?" diff samples/pc-once.img.xz samples/pc-live.img.xz \
    --ignore-clocks --limit 5 || test $? -eq 1
step "An ELF core for gdb, drgn, crash: what would be in it." \
    extract samples/q35-dimm.img.xz --format elf --plan
step "A save that failed half way: everything up to there, and where it stopped." \
    info samples/failed-ignore-shared.img.xz
step "An image of our own, as a sender with multifd_flush_after_each_section on writes it." \
    synth -o "$made/ours.img" --machine pc --block pc.ram=16M:counter:0.1 --rounds 3 \
    --multifd --multifd-flush-after-each-section
step "Three rounds leave three PARTs; the property leaves nothing in a mapped-ram stream." \
    dump "$made/ours.img" --depth 2
title "A real QEMU loads it, with multifd."
"$bin/python" samples/load.py "$made/ours.img"
step "Review version 4 of fixed-ram sent one MULTIFD_FLUSH at the end, unless the property was on." \
    synth -o "$made/v4.img" --dialect fixed-ram-v4 --multifd --block pc.ram=1M
step "Here it is." dump "$made/v4.img" --kind multifd_flush --bytes
step "The same sender with the property on." synth -o "$made/v4-on.img" --dialect fixed-ram-v4 \
    --multifd --multifd-flush-after-each-section --block pc.ram=16M:random:0.2 --rounds 3
step "Who waits for the receive channels, in four designs?" sync "$made/v4-on.img" --compare
step "What was merged, on a real image: one wait, where all pages have been handed out." \
    sync "$sample"
step "Loaded so, with two channels." load "$sample"
step "One thing broken in an image." synth -o "$made/bad.img" --block pc.ram=16M \
    --fault page-size-double
title "Is it sound, and what would QEMU 10 do with it?"
printf '\033[2m$ fixedram validate bad.img --loader qemu-10.0\033[0m\n'
"$bin/fixedram" validate "$made/bad.img" --loader qemu-10.0 || test $? -eq 1
