"""A real restore without risk: a QEMU of one's own, paused, with no disk that it could write."""
