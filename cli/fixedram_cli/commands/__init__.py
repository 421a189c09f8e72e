"""The commands, one module each: parse, one call of the library, render."""
