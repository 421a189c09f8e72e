"""The specification as documents: made from the layouts, the rules and the commands' own classes.

`python -m specification spec` writes what is generated in that folder, and
`... spec --check` says what is out of date.  The layouts of fixedram_fmt.schema say where fields
lie; what they mean in words is in meanings.py, once.
"""
