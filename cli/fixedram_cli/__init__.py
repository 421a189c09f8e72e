"""The `fixedram` command: parses arguments, makes one call of the library, renders."""
