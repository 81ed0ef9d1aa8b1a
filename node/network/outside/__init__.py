"""How others reach us: dial-backs, relays, reservations."""
