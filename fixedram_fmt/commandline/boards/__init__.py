"""Machines that are no PC: what their state tells of the type, the CPUs, memory and properties."""

from fixedram_fmt.commandline.boards.boards import contribute

__all__ = ["contribute"]
