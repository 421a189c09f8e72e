"""Device state: its JSON description (vmdesc), and how long each device's bytes are."""
