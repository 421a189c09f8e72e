"""Page maps: what the pages of a block are, cell by cell, and pictures of it."""
