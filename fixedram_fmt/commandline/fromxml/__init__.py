"""The command line by libvirt's XML: what virsh would start, as far as state goes."""

from fixedram_fmt.commandline.fromxml.domain import contribute

__all__ = ["contribute"]
