"""Nouns and protocols of the house; imports nothing above itself."""
