"""Augmentations on batches of uint8 pictures."""
