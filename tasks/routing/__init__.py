"""Feedback into loops: what opens, joins or reopens one, what a person decides, who hears now."""
