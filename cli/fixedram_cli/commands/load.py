"""`fixedram load`: really loads an image, with channels, the way a loader does."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_cli.command import Form, Reading, Receiver
from fixedram_cli.commands.blocks import block_files
from fixedram_cli.options import Force, ImageArgument, loader_named, option
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.loading import progress_bar
from fixedram_cli.render.terminal import count, warn
from fixedram_fmt.errors import FixedRamError, UnsupportedError
from fixedram_fmt.io.output import Output
from fixedram_fmt.loaders import DEFAULT_LOADER, Outcome
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.loaders import Loader
    from fixedram_fmt.multifd.loader import Loaded
    from fixedram_fmt.validation import Verdict


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where memory goes, and how."""

    out: Annotated[
        Path | None,
        option("-o --out", "Load into files, one a block, and blocks.json that names them.", "DIR"),
    ] = None
    force: Force = False
    anyway: Annotated[
        bool, option("--ignore-verdict", "Load although this loader would not, or not all.")
    ] = False
    direct_io: Annotated[
        bool, option("--direct-io", "Read past the page cache (O_DIRECT), where that works.")
    ] = False
    digest: Annotated[
        bool, option("--digest/--no-digest", "SHA-256 of each block's memory in the JSON.")
    ] = True


def load(
    image: ImageArgument, receiver: Receiver, wanted: Wanted, form: Form, reading: Reading
) -> None:
    """Every block goes into memory, or into files.

    The image is judged first, as `validate` does; exit code 1 where this loader would not load it
    (with --json the answer says so too).

    Example: fixedram load guest.img --channels 4

    Example: fixedram load guest.img -o blocks/ --json
    """
    from fixedram_fmt.multifd.loader import Loaded
    from fixedram_fmt.multifd.loadresult import LoadResult, loaded_blocks

    model = loader_named(receiver.loader or DEFAULT_LOADER)
    with (
        _answering(model, receiver.channels, as_json=form.is_json),
        reading.open(image) as opened,
    ):
        verdict = _judge(opened, model, flush=receiver.flush)
        refused = verdict.outcome is not Outcome.LOADS
        if refused and not wanted.anyway:
            if form.is_json:
                blocks = loaded_blocks(opened.blocks)
                print_json(LoadResult.of(model, Loaded(receiver.channels), blocks, verdict))
            raise typer.Exit(1)
        if refused:
            # A note says so; from here on nothing in the stream makes it give up.
            model = replace(model, takes_flush=True, syncs_again=True)
        how = {"channels": receiver.channels, "loader": model, "property_on": receiver.flush}
        put = _into_memory if wanted.out is None else _into_files
        loaded, hashes, files = put(opened, how, wanted, digest=form.is_json and wanted.digest)
        for note in loaded.notes:
            warn(note)
        if form.is_json:
            blocks = loaded_blocks(opened.blocks, hashes, files)
            print_json(LoadResult.of(model, loaded, blocks, verdict))
        else:
            _print(loaded, model, len(opened.blocks))
    if refused:
        raise typer.Exit(1)


@contextmanager
def _answering(loader: Loader, channels: int, *, as_json: bool) -> Iterator[None]:
    """With --json an answer on stdout also where there is nothing that could be loaded."""
    from fixedram_fmt.multifd.loader import Loaded
    from fixedram_fmt.multifd.loadresult import LoadResult

    try:
        yield
    except FixedRamError as error:
        if as_json:
            print_json(LoadResult.of(loader, Loaded(channels), error=str(error)))
        raise


def _judge(image: Image, loader: Loader, *, flush: bool) -> Verdict:
    """What this loader does with the image; a note on stderr where it would not load it."""
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


#: What was loaded, the digests if they are wanted, and the names of the files.
_Result = tuple["Loaded", list[str], list[str]]


def _into_memory(image: Image, how: dict[str, Any], wanted: Wanted, *, digest: bool) -> _Result:
    from fixedram_fmt.multifd import loader, targets

    with targets.Memory(image, direct=wanted.direct_io) as memory:
        with progress_bar(image) as progress:
            loaded = loader.load(image, memory, progress=progress, **how)
        if memory.note:
            loaded.notes.append(memory.note)
        return loaded, loader.sha256_of(image, memory.views) if digest else [], []


def _into_files(image: Image, how: dict[str, Any], wanted: Wanted, *, digest: bool) -> _Result:
    from fixedram_fmt.multifd import loader
    from fixedram_fmt.multifd.targets import DirectSource, Files

    with ExitStack() as stack:
        folder, names = stack.enter_context(
            block_files(
                wanted.out or Path(), image.blocks, force=wanted.force, mode=image.file_mode
            )
        )
        source = DirectSource(image.source) if wanted.direct_io else image.source
        if isinstance(source, DirectSource):
            stack.callback(source.close)
        outputs = [stack.enter_context(folder.replacing(name)) for name in names]
        progress = stack.enter_context(progress_bar(image))
        loaded = loader.load(image, Files(source, outputs), progress=progress, **how)
        for output, block in zip(outputs, image.blocks, strict=True):
            output.finish(block.used_length)
        lengths = [block.used_length for block in image.blocks]
        hashes = list(map(Output.sha256, outputs, lengths)) if digest else []
    if isinstance(source, DirectSource) and source.note:
        loaded.notes.append(source.note)
    return loaded, hashes, names


def _print(loaded: Loaded, loader: Loader, blocks: int) -> None:
    speed = human_size(int(loaded.bytes / loaded.seconds)) if loaded.seconds else "-"
    print(
        f"{human_size(loaded.bytes)} of {count(blocks, 'block')} loaded:"
        f" {count(loaded.jobs, 'job')} on {count(loaded.channels, 'channel')},"
        f" {count(loaded.syncs, 'sync')} ({loader.name}),"
        f" {loaded.seconds:.3f} s, {speed}/s"
    )
