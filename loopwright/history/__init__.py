"""The history that an outsider can check: an RFC 6962 tree over exact canonical envelopes.

`tree` is the arithmetic, `envelope` the bytes of one event, `append` writes events inside the
business transaction, `verify` recomputes everything from the stored rows.
"""
