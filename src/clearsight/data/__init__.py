"""From files to pixels: readers, checks, decoding, splits, preprocessing, the cache; no torch."""
