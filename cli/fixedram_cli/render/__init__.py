"""How results are shown: terminal text and JSON."""
