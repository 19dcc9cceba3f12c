"""The contract kit: what every implementation of a kind must satisfy. Third parties run it too."""
