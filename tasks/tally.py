"""Counts of what a step did, which add up over its sets and leases."""

from typing import Self


class Tally:
    """A base for dataclasses of numbers."""

    def __iadd__(self, other: Self) -> Self:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self
