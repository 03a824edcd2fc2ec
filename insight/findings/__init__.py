"""What looks like working for the numbers instead of the customers? Named findings with evidence.

A finding accuses nobody: it names loops and people for a person to look at. Everything is read
from events and rows; the words of customers and staff are compared by hash and never kept.
"""
