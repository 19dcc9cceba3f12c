"""Families, losses and trainers; the room where torch lives. Writes Bundles."""
