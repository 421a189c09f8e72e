"""Declarative layouts, one file per family of structures; no I/O, and nothing of ours but errors.

Each structure is written once, as a construct schema bound to the frozen dataclass that carries
its values.  Sizes, parsing, building and the field tables of the specification come from there.
"""
