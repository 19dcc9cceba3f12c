"""Makes Bundles out of Bundles (a lower precision) and out of models from elsewhere."""
