"""The version of this clearsight; the only place that says it."""

__version__ = "0.1.0"
