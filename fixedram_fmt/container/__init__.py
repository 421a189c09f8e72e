"""What a migration stream can lie in: a plain file, a libvirt save, something compressed."""
