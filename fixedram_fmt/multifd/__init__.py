"""Channels: the protocol by which a main thread hands out work and waits for it; load and save.

Upstream: QEMU migration/multifd.c, migration/file.c, and the review that asked for a sync that can
be done again.
"""
