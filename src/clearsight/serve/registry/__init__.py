"""Versions of models, which of them answers, and the checks before one may."""
