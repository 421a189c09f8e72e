"""The verbs: what the commands do, one call each, with a result that does not change any more.

An image is given as `PATH`, `PATH@OFFSET`, the bytes of a file, a Source, or an Image that is open;
what a verb opens it closes.  Every verb raises FixedRamError (SourceError where bytes cannot be
had, FormatError where they contradict the format, UnsupportedError for what is not done here).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixedram_fmt.image import Image

if TYPE_CHECKING:
    from collections.abc import Buffer, Iterator, Mapping, Sequence  # type: ignore[attr-defined]

    from fixedram_fmt.comparison.result import Diff, Options
    from fixedram_fmt.container.opening import Location
    from fixedram_fmt.digests import ImageDigest
    from fixedram_fmt.multifd.loadresult import LoadResult
    from fixedram_fmt.presence.hostlong import HostLong
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.validation.report import ImageReport
    from fixedram_fmt.write.spec import ImageSpec

    Path_ = str | os.PathLike[str]

__all__ = [
    "Written",
    "convert",
    "copy",
    "diff",
    "digest",
    "extract",
    "load",
    "open",
    "synth",
    "validate",
]


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written: its path, its size in bytes, and what a person should know."""

    path: Path
    size: int
    notes: tuple[str, ...] = ()


def open(  # noqa: A001 - a verb of the package, fx.open
    location: Location,
    *,
    offset: int | None = None,
    search: bool = False,
    host_long: HostLong | None = None,
) -> Image:
    """An image, to look around in; `with` closes it.

        import fixedram_fmt as fx

        with fx.open("guest.img") as image:
            for block in image.blocks:
                print(block.name, block.used_length, image.presence(block).count())
            ram = image.memory(image.blocks[0])
            print(ram.read(0x1000, 16).hex())

    offset is where the stream starts, when it is known; search looks for it further in the file.
    host_long is the byte order of the bitmaps, where it is not to be inferred.  From memory:

        from pathlib import Path

        import fixedram_fmt as fx

        with fx.open(Path("guest.img").read_bytes()) as image:
            print(image.machine, image.complete)
    """
    return Image.open(location, offset=offset, search=search, host_long=host_long)


def validate(
    image: Image | Location,
    *,
    loader: str | None = None,
    multifd: bool = False,
    flush_after_each_section: bool = False,
    deep: bool = False,
    destination: Receiver | Path_ | None = None,
) -> ImageReport:
    """What is wrong with an image, and what a loader does with it.

        import fixedram_fmt as fx

        report = fx.validate("guest.img", loader="qemu-10.0")
        print(report.verdict, report.message)
        for finding in report.findings:
            print(finding.rule, finding.offset, finding.message)

    loader is one of fixedram_fmt.loaders.LOADERS (None: the newest QEMU, and for a libvirt save
    the newest libvirt); multifd: it loads with channels; flush_after_each_section is the receiver's
    migration property of that name; deep reads absent pages too; destination is the receiving VM,
    or a file that describes it.  What cannot be opened is told in the report's error.
    """
    from fixedram_fmt.loaders import loader_named
    from fixedram_fmt.receiver import Receiver, load_receiver
    from fixedram_fmt.validation.report import Question, ask, ask_of

    if destination is not None and not isinstance(destination, Receiver):
        destination = load_receiver(os.fspath(destination))
    if loader is not None:
        loader_named(loader)
    question = Question(
        loader=loader,
        multifd=multifd,
        property_on=flush_after_each_section,
        deep=deep,
        destination=destination,
    )
    if isinstance(image, Image):
        return ask_of(image, image.source.name, question)
    return ask(image, question)


def diff(a: Image | Location, b: Image | Location, options: Options | None = None) -> Diff:
    """What differs between two images: memory, device state, structure.

        import fixedram_fmt as fx

        found = fx.diff("guest.img", "other.img")
        print(found.same, [block.name for block in found.blocks if block.differing])

    options says what is compared and what does not count (fixedram_fmt.comparison.Options).
    """
    from fixedram_fmt.comparison import Options
    from fixedram_fmt.comparison import diff as compare

    with opened_image(a) as first, opened_image(b) as second:
        return compare(first, second, options or Options())


def digest(location: Location, *, search: bool = False, whole_blocks: bool = False) -> ImageDigest:
    """One SHA-256 for what an image means, however it is stored (fixedram_fmt.digests).

        import fixedram_fmt as fx

        print(fx.digest("guest.img").image)

    whole_blocks: the SHA-256 of each block's whole memory too, which costs its size.
    """
    from fixedram_fmt.digests import digest_file

    return digest_file(location, search=search, whole_blocks=whole_blocks)


def synth(
    spec: Mapping[str, Any] | Path_ | ImageSpec | None,
    out: Path_,
    *,
    faults: Sequence[str] = (),
    force: bool = False,
    **options: Any,
) -> Written:
    """Make an image from a spec: a document, or a TOML or JSON file of one; broken on request.

        import fixedram_fmt as fx

        made = fx.synth({"machine": "pc"}, "broken.img", blocks=["pc.ram=1M"],
                        faults=["header-version-2"])
        print(made.size, fx.validate(made.path).verdict)

    options are fields of fixedram_fmt.write.spec.ImageSpec and win over the spec; faults are names
    of `fixedram synth --list-faults`.  Same spec, same bytes.
    """
    from fixedram_fmt.io.output import replacing
    from fixedram_fmt.write.faults import fault_named
    from fixedram_fmt.write.spec import ImageSpec, spec_of
    from fixedram_fmt.write.synth import write_image

    given = Path(spec) if isinstance(spec, (str, os.PathLike)) else spec
    made = spec_of(given, **options)
    assert isinstance(made, ImageSpec)
    broken = [fault_named(name) for name in faults]
    with replacing(Path(out), force=force) as output:
        size = write_image(made, output, broken)
    return Written(Path(out), size)


def copy(image: Image | Location, out: Path_, *, force: bool = False, **options: Any) -> Written:
    """An image written again: the same to the byte, or changed as options say.

        import fixedram_fmt as fx

        fx.copy("guest.img", "clean.img", drop_stale=True)

    options are fields of fixedram_fmt.write.rewrite.RewriteOptions.
    """
    from fixedram_fmt.io.output import replacing
    from fixedram_fmt.write.packing import write_packed
    from fixedram_fmt.write.placing import write_pieces
    from fixedram_fmt.write.rewrite import RewriteOptions, rewrite

    made = RewriteOptions(**options)
    with opened_image(image) as opened:
        opened.container.keep_file(out)
        pieces = list(rewrite(opened, made))
        with replacing(Path(out), force=force, mode=opened.file_mode) as output:
            if made.compress:
                size = write_packed(pieces, output, compression=made.compress)
            else:
                size = write_pieces(pieces, output)
    return Written(Path(out), size)


def convert(
    location: Location,
    out: Path_,
    *,
    to: str = "mapped-ram",
    container: str | None = None,
    host_long: HostLong | None = None,
    force: bool = False,
) -> Written:
    """An ordinary stream made into a mapped-ram image, or (to="stream") back.

        import fixedram_fmt as fx

        fx.convert("guest.img", "guest.stream", to="stream")
        print(fx.convert("guest.stream", "again.img").size)

    container="none" leaves libvirt's header out; host_long is the byte order of the bitmaps.
    """
    from fixedram_fmt.container.opening import OpenedStream
    from fixedram_fmt.conversion import Conversion, ConvertOptions
    from fixedram_fmt.io.output import replacing

    options = ConvertOptions(to=to, container=container, host_long=host_long)
    with OpenedStream.open(location) as stream:
        stream.container.keep_file(out)
        conversion = Conversion(stream, options)
        with replacing(Path(out), force=force, mode=stream.file_mode) as output:
            size = conversion.write(output)
    return Written(Path(out), size, tuple(conversion.notes))


def extract(
    image: Image | Location,
    out: Path_,
    *,
    format: str = "raw",  # noqa: A002 - the option's name
    block: str | None = None,
    span: tuple[int, int | None] = (0, None),
    force: bool = False,
) -> Written:
    """Memory taken out into a file; what is absent is a hole.

        import fixedram_fmt as fx

        with fx.open("guest.img") as image:
            fx.extract(image, "ram.bin", block=image.blocks[0].name)
            fx.extract(image, "core", format="elf")

    format: `raw` is one block, `physical` guest-physical memory, `elf` a core with registers,
    `lime` for volatility.  span is what is taken of it, addresses from the first to before the
    second.  Of an image that ends early notes say so; of one whose bitmaps are lost
    fixedram_fmt.recovery.DataImage has the pages with data.
    """
    from fixedram_fmt import export
    from fixedram_fmt.errors import UnsupportedError
    from fixedram_fmt.io.output import refuse_over, replacing

    makers = {
        "physical": export.physical_image,
        "elf": export.elf_core,
        "lime": export.lime_image,
    }
    with opened_image(image) as opened:
        refuse_over(out, opened.container.outermost(opened.source))
        if format == "raw":
            artifact = export.raw_block(opened, opened.block(block or ""), *span)
        elif format in makers:
            artifact = makers[format](opened, *span)
        else:
            raise UnsupportedError(
                f"there is no format {format!r}", expected=f"raw, {', '.join(makers)}"
            )
        with replacing(Path(out), force=force, mode=opened.file_mode) as output:
            artifact.write(output)
        notes = ("the stream stops early, memory may be missing",) if opened.ends_early else ()
    return Written(Path(out), artifact.size, notes)


def load(
    image: Image | Location,
    *,
    channels: int = 2,
    loader: str | None = None,
    flush_after_each_section: bool = False,
    buffers: Mapping[str, Buffer] | None = None,
) -> LoadResult:
    """Load an image with receive channels, as a loader does; into memory that is given or made.

        import fixedram_fmt as fx

        done = fx.load("guest.img", channels=4)
        print(done.bytes, done.syncs, [(block.name, block.sha256) for block in done.blocks])

        with fx.open("guest.img") as image:
            memory = {block.name: bytearray(block.used_length) for block in image.blocks}
            fx.load(image, buffers=memory)

    loader is one of fixedram_fmt.loaders.LOADERS (None: the newest QEMU), and
    flush_after_each_section the receiver's migration property of that name.  buffers has a writable
    buffer of zeros for each block, by its name.  Raises LoadError where the loader would not load
    the image as it should; `validate` says why.
    """
    from fixedram_fmt.loaders import DEFAULT_LOADER, Outcome, loader_named
    from fixedram_fmt.multifd.loader import LoadError, sha256_of
    from fixedram_fmt.multifd.loader import load as load_image
    from fixedram_fmt.multifd.loadresult import LoadResult, loaded_blocks
    from fixedram_fmt.multifd.targets import Buffers, Memory
    from fixedram_fmt.validation import validate as judge

    model = loader_named(loader or DEFAULT_LOADER)
    flush = flush_after_each_section
    how: dict[str, Any] = {"channels": channels, "loader": model, "property_on": flush}
    with opened_image(image) as opened:
        verdict = judge(opened).verdict(model, multifd=True, property_on=flush)
        if verdict.outcome is not Outcome.LOADS:
            raise LoadError(f"{model.name} {verdict.outcome}: {verdict.message}")
        if buffers is None:
            with Memory(opened) as memory:
                done = load_image(opened, memory, **how)
                hashes = sha256_of(opened, memory.views)
        else:
            target = Buffers(opened, buffers)
            done = load_image(opened, target, **how)
            hashes = sha256_of(opened, target.views)
        return LoadResult.of(model, done, loaded_blocks(opened.blocks, hashes), verdict)


@contextmanager
def opened_image(image: Image | Location) -> Iterator[Image]:
    """The image itself, which stays open, or one that is closed afterwards."""
    if isinstance(image, Image):
        yield image
        return
    with Image.open(image) as opened:
        yield opened
