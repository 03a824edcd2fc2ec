"""Out of the outbox: to whom, saying what, and what became of each attempt."""
