"""One mechanism for everything that a second person must agree to."""
