"""The service: one transport-free core, thin protocols, and the page."""
