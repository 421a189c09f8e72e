#!/bin/sh
# Nine looks at real images and at some made here: what `make demo` shows. $1 is the folder of the
# commands. PAUSE=1 waits for Enter between the looks, FULL=1 shows more in each.
set -eu
bin=$1
full=${FULL:-}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
here=$PWD
ln -s "$here/samples" "$made/samples"
cd "$made"
case $bin in /*) ;; *) bin=$here/$bin ;; esac
if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
else bold='' dim='' plain=''; fi
looks=0

# A look: its title, and what to see in it.
look() {
    if [ "${PAUSE:-}" = 1 ] && [ $looks -gt 0 ]; then printf '\n(Enter)'; read -r _; fi
    looks=$((looks + 1))
    printf '\n%s%d. %s%s\n%s%s%s\n' "$bold" $looks "$1" "$plain" "$dim" "$2" "$plain"
}

# A command, shown and done. 1 says that there are findings or differences, and is expected.
try() {
    printf '\n%s$ fixedram' "$bold"
    for word in "$@"; do
        case $word in *'*'*) printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '%s\n' "$plain"
    "$bin/fixedram" "$@" || test $? -eq 1
}

# One that only FULL=1 shows.
more() { if [ "$full" = 1 ]; then try "$@"; fi; }

printf '%s\n' "A virtual machine saved with mapped-ram is one file: every page of memory at a fixed offset, a" \
    "bitmap of those that are there, the devices behind. Nine looks at such files:"

look "What is in the file?" \
    "QEMU 10 saved this guest while it ran. Of 24 MiB, 30 pages are there; the rest is holes."
try info samples/pc-live.img.xz
more info samples/libvirt-fx-sparse.save.xz
more info samples/failed-ignore-shared.img.xz

look "Every byte has an owner." \
    "The header of a RAM block, field by field, with the offsets of its bitmap and its pages."
try dump samples/pc-live.img.xz --offset 0x72 --bytes
more dump samples/pc-live.img.xz --deep

look "A page that should not be there." \
    "Absent in the bitmap, yet old memory of the guest lies in the file: --deep finds such pages."
try dump samples/pc-live.img.xz --deep --offset 0x543000

look "What was the guest doing?" \
    "Where both CPUs were, with each value's place in the file, and the code at the reset vector."
try state samples/q35-dimm.img.xz 'cpu*/env.eip' --offsets
try read samples/q35-dimm.img.xz --phys 0xfffffff0 16
more state samples/q35-dimm.img.xz --summary
more extract samples/q35-dimm.img.xz --format elf --plan

look "What changed between two saves?" "Memory by range, devices by name, with before and after."
try diff samples/pc-once.img.xz samples/pc-live.img.xz --ignore-clocks --limit 4

look "A broken image, and what QEMU would do with it." \
    "One number is wrong. QEMU 10.0 loads this file without a word, and a part of memory is missing."
try synth -o broken.img --block pc.ram=16M --fault page-size-double
try validate broken.img --loader qemu-10.0 --ignore D10

look "An image of our own, and a real QEMU." \
    "Made from one line of options; if QEMU is installed, it loads it with multifd."
try synth -o ours.img --machine pc --block pc.ram=16M:counter:0.1 --rounds 3 --multifd
more dump ours.img --depth 2
printf '\n%s$ python samples/load.py ours.img%s\n' "$bold" "$plain"
"$bin/python" samples/load.py ours.img

look "Who waits for the receive channels, and when?" \
    "Four designs of the loader on one file, as version 4 of the review wrote it: two would be wrong."
try synth -o v4.img --dialect fixed-ram-v4 --multifd --multifd-flush-after-each-section \
    --block pc.ram=16M:random:0.2 --rounds 3
try sync v4.img --compare
more sync samples/pc-live.img.xz
more load samples/pc-live.img.xz

look "Would it restore? Try it, without risk." \
    "The command line is derived from the image; a real QEMU, if there is one, loads it paused."
try destination samples/q35-dimm.img.xz --output command
if command -v qemu-system-x86_64 >/dev/null; then try rehearse samples/q35-dimm.img.xz
else printf '\n(no qemu-system-x86_64 here: fixedram rehearse needs it)\n'; fi
more diagnose --log "qemu-system-x86_64: Missing section footer for 0000:00:01.3/piix4_pm"

printf '\n%s\n' "Next: .venv/bin/fixedram --help, the guides in cli/guides, and FULL=1 make demo for more of each."
