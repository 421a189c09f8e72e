"""`fixedram load`: really loads an image, with channels, the way a loader does."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_cli.commands.blocks import block_files
from fixedram_cli.options import (
    ByteOrderOption,
    ChannelsOption,
    FlushOption,
    Force,
    ImageArgument,
    Json,
    LoaderOption,
    Output,
    OutputFormat,
    Search,
    loader_named,
    open_image,
    option,
    wants_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from fixedram_fmt.image import Image
    from fixedram_fmt.loaders import Loader
    from fixedram_fmt.multifd.loader import Loaded
    from fixedram_fmt.validation import Verdict

#: Progress is shown each time so many more bytes were handed out.
_TELL_EVERY = 1 << 26


def load(
    image: ImageArgument,
    channels: ChannelsOption = 2,
    loader: LoaderOption = None,
    flush: FlushOption = False,
    out: Annotated[
        Path | None,
        option("-o --out", "Load into files, one a block, and blocks.json that names them.", "DIR"),
    ] = None,
    force: Force = False,
    anyway: Annotated[
        bool, option("--ignore-verdict", "Load although this loader would not, or not all.")
    ] = False,
    direct_io: Annotated[
        bool, option("--direct-io", "Read past the page cache (O_DIRECT), where that works.")
    ] = False,
    digest: Annotated[
        bool, option("--digest/--no-digest", "SHA-256 of each block's memory in the JSON.")
    ] = True,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:  # fmt: skip
    """Really load an image as a loader does, and say how fast.

    Every block goes into memory, or into files.

    The image is judged first, as `validate` does; exit code 1 where this loader would not load it
    (with --json the answer says so too).

    Example: fixedram load guest.img --channels 4

    Example: fixedram load guest.img -o blocks/ --json
    """
    from dataclasses import replace

    from fixedram_cli.render.jsonout import print_json
    from fixedram_cli.render.terminal import warn
    from fixedram_fmt.loaders import DEFAULT_LOADER, Outcome
    from fixedram_fmt.multifd.loader import Loaded
    from fixedram_fmt.multifd.result import LoadResult, loaded_blocks

    as_json = wants_json(json_, output)
    model = loader_named(loader or DEFAULT_LOADER)
    with (
        _answering(model, channels, as_json=as_json),
        open_image(image, search=search, byte_order=byte_order) as opened,
    ):
        verdict = _judge(opened, model, flush=flush)
        refused = verdict.outcome is not Outcome.LOADS
        if refused and not anyway:
            if as_json:
                blocks = loaded_blocks(opened.blocks)
                print_json(LoadResult.of(model, Loaded(channels), blocks, verdict))
            raise typer.Exit(1)
        if refused:
            # Told above; from here on nothing in the stream makes it give up.
            model = replace(model, takes_flush=True, syncs_again=True)
        how = {"channels": channels, "loader": model, "property_on": flush}
        digests = as_json and digest
        if out is None:
            loaded, hashes = _into_memory(opened, how, direct=direct_io, digest=digests)
            written: list[str] = []
        else:
            loaded, hashes, written = _into_files(
                opened, how, out, direct=direct_io, force=force, digest=digests
            )
        for note in loaded.notes:
            warn(note)
        if as_json:
            blocks = loaded_blocks(opened.blocks, hashes, written)
            print_json(LoadResult.of(model, loaded, blocks, verdict))
        else:
            _print(loaded, model, len(opened.blocks))
    if refused:
        raise typer.Exit(1)


@contextmanager
def _answering(loader: Loader, channels: int, *, as_json: bool) -> Iterator[None]:
    """With --json an answer on stdout also where there is nothing that could be loaded."""
    from fixedram_cli.render.jsonout import print_json
    from fixedram_fmt.errors import FixedRamError
    from fixedram_fmt.multifd.loader import Loaded
    from fixedram_fmt.multifd.result import LoadResult

    try:
        yield
    except FixedRamError as error:
        if as_json:
            print_json(LoadResult.of(loader, Loaded(channels), error=str(error)))
        raise


def _judge(image: Image, loader: Loader, *, flush: bool) -> Verdict:
    """What this loader does with the image; told on stderr where it would not load it."""
    from fixedram_cli.render.terminal import warn
    from fixedram_fmt.errors import UnsupportedError
    from fixedram_fmt.loaders import Outcome
    from fixedram_fmt.validation import validate

    if image.blocks and image.dialect == "ordinary":
        raise UnsupportedError(
            "this is an ordinary stream: its pages are in the stream, channels cannot load it",
            hint="save with mapped-ram on",
        )
    verdict = validate(image).verdict(loader, multifd=True, property_on=flush)
    if verdict.outcome is not Outcome.LOADS:
        finding = verdict.decided_by
        why = f"{finding.rule.id} at {finding.offset or 0:#x}: {finding.message}" if finding else ""
        warn(f"{loader.name} {_WOULD[verdict.outcome.value]}: {verdict.message} ({why})")
    return verdict


_WOULD = {
    "refuses": "would refuse this image",
    "wrong-memory": "would load wrong memory from this image",
    "crashes": "would crash or hang on this image",
}


def _into_memory(
    image: Image, how: dict[str, Any], *, direct: bool, digest: bool
) -> tuple[Loaded, list[str]]:
    from fixedram_fmt.multifd.loader import load as load_image
    from fixedram_fmt.multifd.loader import sha256_of
    from fixedram_fmt.multifd.targets import Memory

    with Memory(image, direct=direct) as memory:
        with _progress(image) as progress:
            loaded = load_image(image, memory, progress=progress, **how)
        if memory.note:
            loaded.notes.append(memory.note)
        return loaded, sha256_of(image, memory.views) if digest else []


def _into_files(
    image: Image, how: dict[str, Any], folder: Path, *, direct: bool, force: bool, digest: bool
) -> tuple[Loaded, list[str], list[str]]:
    """What was loaded, the digests if they are wanted, and the names of the files."""
    from contextlib import ExitStack

    from fixedram_fmt.io.output import Output
    from fixedram_fmt.multifd.loader import load as load_image
    from fixedram_fmt.multifd.targets import DirectSource, Files

    with ExitStack() as stack:
        place, names = stack.enter_context(
            block_files(folder, image.blocks, force=force, mode=image.file_mode)
        )
        source = DirectSource(image.source) if direct else image.source
        if isinstance(source, DirectSource):
            stack.callback(source.close)
        outputs = [stack.enter_context(place.replacing(name)) for name in names]
        progress = stack.enter_context(_progress(image))
        loaded = load_image(image, Files(source, outputs), progress=progress, **how)
        for output, block in zip(outputs, image.blocks, strict=True):
            output.finish(block.used_length)
        lengths = [block.used_length for block in image.blocks]
        hashes = list(map(Output.sha256, outputs, lengths)) if digest else []
    if isinstance(source, DirectSource) and source.note:
        loaded.notes.append(source.note)
    return loaded, hashes, names


def _progress(image: Image) -> AbstractContextManager[Callable[[int], None] | None]:
    """A bar on stderr where a person sees it, nothing elsewhere."""
    import sys

    if not sys.stderr.isatty():
        return nullcontext()
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    from fixedram_cli.render.terminal import console

    @contextmanager
    def shown() -> Iterator[Callable[[int], None]]:
        columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
        total = sum(
            bitmap.count() * block.page_size
            for block in image.blocks
            if (bitmap := image.readable_bitmap(block)) is not None
        )
        with Progress(*columns, console=console(stderr=True), transient=True) as bars:
            task = bars.add_task("", total=total)
            told = 0

            def tell(done: int) -> None:
                nonlocal told
                if done - told >= _TELL_EVERY:
                    told = done
                    bars.update(task, completed=done)

            yield tell

    return shown()


def _print(loaded: Loaded, loader: Loader, blocks: int) -> None:
    from fixedram_cli.render.terminal import count
    from fixedram_fmt.units import human_size

    speed = human_size(int(loaded.bytes / loaded.seconds)) if loaded.seconds else "-"
    print(
        f"{human_size(loaded.bytes)} of {count(blocks, 'block')} loaded:"
        f" {count(loaded.jobs, 'job')} on {count(loaded.channels, 'channel')},"
        f" {count(loaded.syncs, 'sync')} ({loader.name}),"
        f" {loaded.seconds:.3f} s, {speed}/s"
    )
