"""A QEMU command line that receives an image: derived from its state, or from libvirt's XML."""

from fixedram_fmt.commandline.deriving import command_line
from fixedram_fmt.commandline.result import CommandLine

__all__ = ["CommandLine", "command_line"]
