"""What the world does to pictures: noise, blur, weather, compression. A file added is one added."""

from clearsight.core.registry import Registry

CORRUPTIONS = Registry("clearsight.robust.corruptions", "corruption")
