"""Loss functions; a file added here is a loss added."""

from clearsight.core.registry import Registry

LOSSES = Registry("clearsight.learn.losses", "loss", extra="train")
