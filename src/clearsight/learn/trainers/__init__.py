"""Training loops that families share."""
