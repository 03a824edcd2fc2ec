"""What can go wrong on the way in: a whole delivery that cannot be read, or one record of it."""

from loopwright.errors import InputError


class SourceError(InputError):
    """A delivery, or its source document, that cannot be used at all; nothing of it is taken."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)


class RecordError(Exception):
    """One record that cannot be understood; its raw form stays and waits in quarantine.

    `reason` never repeats the customer's words; `field` is the source's own field name.
    """

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = str(self)
        self.field = field
