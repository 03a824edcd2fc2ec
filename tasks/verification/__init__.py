"""Is it solved? Customers are asked, called and told; what they answer closes or reopens."""
