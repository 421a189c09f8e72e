"""Bytes in and out: sources that are read at offsets, outputs that are whole or not there."""
