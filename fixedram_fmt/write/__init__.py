"""Writes images: spec -> elements -> plan (positions) -> file; the mirror of the reader.

elements.py says what an image is made of, layout.py puts it at offsets, output.py executes the
plan; synth.py makes elements from a spec, rewrite.py from an image that was read.
"""
