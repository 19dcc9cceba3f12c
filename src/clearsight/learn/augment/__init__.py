"""Changes of training pictures that keep the label; a file added here is one added."""

from clearsight.core.registry import Registry

AUGMENTS = Registry("clearsight.learn.augment", "augmentation", extra="train")
