"""An image as a folder of read-only files, and that folder through FUSE."""
