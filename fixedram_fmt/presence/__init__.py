"""Which pages of a block there are: bitmaps in the file, sets in memory, pages that hold bytes."""
