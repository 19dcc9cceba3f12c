"""Networks of our own, as torch modules; families train them."""
