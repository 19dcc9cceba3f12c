"""How things are seen from elsewhere: turned, moved, nearer, bent. A file added is one added."""

from clearsight.core.registry import Registry

DEFORMATIONS = Registry("clearsight.robust.deformations", "deformation")
