"""Deliveries in: raw first, then parsed, quarantined where they cannot be, and whose they are."""
