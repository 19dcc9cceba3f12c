"""From files to pixels: readers, checks, decoding, splits, preprocessing, the pixel cache; no torch."""
