"""Protocols the service speaks: one file each; the file name is the key."""
