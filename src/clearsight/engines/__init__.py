"""Opens a Bundle and runs it: one file an engine; `open.py` is the way in."""
