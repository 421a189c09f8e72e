"""The head of a command: what many commands take, each a part of their signatures.

A parameter of a command whose type is a dataclass stands for the fields of it: each is an option,
and the command is given one frozen object.  `flattened` makes the signature that typer reads.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, get_type_hints

from fixedram_cli.options import (
    ByteOrderOption,
    ChannelsOption,
    FlushOption,
    Force,
    Json,
    LoaderOption,
    Output,
    OutputFormat,
    PlanOption,
    Search,
    host_long,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.presence.hostlong import HostLong

__all__ = ["Form", "Reading", "Receiver", "Searching", "Writing", "flattened"]


@dataclass(frozen=True, slots=True)
class Form:
    """How a command prints what it has to say."""

    json_: Json = False
    output: Output = OutputFormat.TEXT

    @property
    def is_json(self) -> bool:
        """Whether --json or --output json was given."""
        return self.json_ or self.output is OutputFormat.JSON


@dataclass(frozen=True, slots=True)
class Searching:
    """How an image is opened."""

    search: Search = False

    def open(self, location: str) -> Image:
        """The image at a location."""
        from fixedram_fmt.image import Image

        return Image.open(location, search=self.search)


@dataclass(frozen=True, slots=True)
class Reading(Searching):
    """How an image is opened, and its bitmaps read."""

    byte_order: ByteOrderOption = None

    @property
    def host_long(self) -> HostLong | None:
        """What --byte-order says; None where it is not given."""
        return host_long(self.byte_order)

    def open(self, location: str) -> Image:
        """The image at a location."""
        from fixedram_fmt.image import Image

        return Image.open(location, search=self.search, host_long=self.host_long)

    @contextmanager
    def shown(self, location: str) -> Iterator[Image]:
        """The image; after what is printed of it, a note on stderr where it stops early."""
        from fixedram_cli.render.terminal import warn_if_stopped

        with self.open(location) as image:
            yield image
            warn_if_stopped(image)


@dataclass(frozen=True, slots=True)
class Writing:
    """How an image is written."""

    plan: PlanOption = False
    force: Force = False


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who loads an image, and how."""

    loader: LoaderOption = None
    channels: ChannelsOption = 2
    flush: FlushOption = False


def flattened(function: Callable[..., None]) -> Callable[..., None]:
    """A command as typer takes it: the fields of its dataclasses are parameters of its own."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[Parameter] = []
    for name, parameter in signature(function).parameters.items():
        if is_dataclass(hints[name]):
            groups[name] = hints[name]
            parameters += _parameters(hints[name])
        else:
            parameters.append(_parameter(name, hints[name], parameter.default))

    @wraps(function)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{one.name: values.pop(one.name) for one in fields(group)})
        function(**values)

    run.__dict__["__signature__"] = Signature(parameters)
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _parameters(group: Any) -> Iterator[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for one in fields(group):
        default = Parameter.empty if one.default is MISSING else one.default
        yield _parameter(one.name, hints[one.name], default)


def _parameter(name: str, annotation: Any, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
