"""What of a customer is kept, for how long, and how it goes."""
