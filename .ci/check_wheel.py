"""The wheel and the sdist in a folder hold what they should, and nothing else.

check_wheel.py DIST [SECOND]: SECOND is a wheel that was built from the tree without the sdist; it
has to be the same to the byte.
"""

import email
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

#: What is needed beside the modules, and what is installed around the packages.
NEEDED = [
    "fixedram_fmt/py.typed",
    "fixedram_cli/py.typed",
    "fixedram_fmt/knowledge/data/qemu-11.1.devices.xz",
    "fixedram_fmt/knowledge/data/qemu-11.1.machines.xz",
    "fixedram_fmt/forensics/volatility3-plugins/fixedram_layer.py",
    "fixedram_fmt/forensics/volatility3-plugins/LICENSE.txt",
    "{info}/licenses/LICENSE",
    "{info}/licenses/fixedram_fmt/forensics/volatility3-plugins/LICENSE.txt",
    "{data}/share/man/man1/fixedram.1",
    "{data}/share/bash-completion/completions/fixedram",
    "{data}/share/zsh/site-functions/_fixedram",
    "{data}/share/fish/vendor_completions.d/fixedram.fish",
    "{data}/share/fixedram/FORMAT.md",
    "{data}/share/fixedram/fixedram.ksy",
    "{data}/share/fixedram/fixedram.hexpat",
    "{data}/share/fixedram/schemas/synth-spec.schema.json",
    "{data}/share/fixedram/schemas/info.schema.json",
    "{data}/share/fixedram/vectors/sound.json",
]


def packages() -> set[str]:
    """Every file of the two packages, as a wheel names it."""
    return {
        path.relative_to(base).as_posix()
        for base, name in ((ROOT, "fixedram_fmt"), (ROOT / "cli", "fixedram_cli"))
        for path in (base / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def check_wheel(wheel: Path) -> str:
    """Print what it holds; return its version."""
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    stem = "-".join(wheel.name.split("-")[:2])
    info, data = f"{stem}.dist-info", f"{stem}.data/data"
    missing = {one.format(info=info, data=data) for one in NEEDED} | packages()
    if missing - names:
        sys.exit(f"{wheel.name} lacks {sorted(missing - names)}")
    tops = {name.split("/")[0] for name in names}
    if tops != {"fixedram_fmt", "fixedram_cli", info, f"{stem}.data"}:
        sys.exit(f"{wheel.name} holds {sorted(tops)}")
    modules = {name for name in names if name.startswith(("fixedram_fmt/", "fixedram_cli/"))}
    if modules - packages():
        sys.exit(f"{wheel.name} holds {sorted(modules - packages())}")
    metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    if len(metadata.get_all("License-File", [])) != 2:
        sys.exit(f"{wheel.name} names {metadata.get_all('License-File')}")
    print(f"{wheel.name}: {len(names)} files, {metadata['License-Expression']}")
    return str(metadata["Version"])


def check_sdist(sdist: Path, version: str) -> None:
    """All that is committed is in it, under one folder."""
    top = f"fixedram-{version}"
    with tarfile.open(sdist) as archive:
        names = {one.name for one in archive if one.isfile()}
    wanted = {
        f"{top}/{path.relative_to(ROOT).as_posix()}"
        for folder in ("bench", "cli", "fixedram_fmt", "samples", "spec", "tests", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if wanted - names:
        sys.exit(f"{sdist.name} lacks {sorted(wanted - names)}")
    if any(not name.startswith(f"{top}/") for name in names):
        sys.exit(f"{sdist.name} unpacks into more than {top}")
    print(f"{sdist.name}: {len(names)} files")


def main() -> None:
    """Check what the arguments name."""
    dist = Path(sys.argv[1])
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    check_sdist(sdist, check_wheel(wheel))
    for second in sys.argv[2:]:
        if Path(second).read_bytes() != wheel.read_bytes():
            sys.exit(f"{wheel.name} from the sdist differs from the one of the tree")


if __name__ == "__main__":
    main()
