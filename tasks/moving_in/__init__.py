"""Open cases of an older system become loops, and their status goes back."""
