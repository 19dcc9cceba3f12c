"""What the service keeps: rows in a database, Bundles in a content-addressed store."""
