#!/bin/sh
# A walk through a real image: what `make demo` shows. $1 is the fixedram command.
set -eu
fixedram=$1
sample=samples/pc-live.img.xz

step() {
    printf '\n\033[1m# %s\033[0m\n' "$1"
    shift
    printf '\033[2m$ fixedram %s\033[0m\n' "$*"
    "$fixedram" "$@"
    if [ "${PAUSE:-}" = 1 ]; then printf '(Enter)'; read -r _; fi
}

step "A guest that QEMU 10 saved while it ran: what is in the file?" info "$sample"
step "Every byte has an owner; --deep finds pages that hold old memory." dump "$sample" --deep
step "The header of one block, byte by byte." \
    dump "$sample" --offset 0x72 --bytes
step "The same guest inside a libvirt save image (virsh save --image-format sparse)." \
    info samples/libvirt-fx-sparse.save.xz
step "A save that failed half way: everything up to there, and where it stopped." \
    info samples/failed-ignore-shared.img.xz
