"""Choosing among recognizers: the race of `--model auto`, ensembles, and studies of settings."""
