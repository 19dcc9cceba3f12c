"""Engines open a Bundle and return a Predictor: one file each; no torch."""
