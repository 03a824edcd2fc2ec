"""Nested JSON to records: an array, a list somewhere in a document, or objects one after another.

Reads through a sliding buffer, so that only one item is in memory; `format.items` names the list
by a dotted path, and everything beside that path is skipped.
"""

import io
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from policy.source_spec import Limits, SourceSpec
from sources.errors import SourceError
from sources.framing import Frames, decoded, record_cap
from sources.payloads import compact
from sources.unpacking import content_streams

CHUNK = 65_536
SPACE = re.compile(r"[ \t\n\r]*")


def frame(delivered: BinaryIO, spec: SourceSpec) -> Frames:
    path = tuple(spec.format.items.split(".")) if spec.format.items else ()
    return Frames(
        compact(item)
        for content in content_streams(delivered, spec.limits)
        for item in _items(_Scanner(decoded(content, spec.format, "\n"), spec.limits), path)
    )


def _items(scan: "_Scanner", path: tuple[str, ...]) -> Iterator[Any]:
    """Raises SourceError where the text stops being JSON or the path leads to no list."""
    while scan.peek():
        found = scan.descend(path)
        if not found and path:
            raise SourceError(
                f"format.items {'.'.join(path)!r} is not in the document", "check the dotted path"
            )
        if scan.peek() == "[":
            yield from scan.array()
        elif path:
            raise SourceError(f"{'.'.join(path)!r} is not a list", "check format.items")
        else:
            yield scan.value()
        scan.leave(len(path))


class _Scanner:
    """Whole JSON values out of a text stream, one at a time."""

    def __init__(self, text: io.TextIOWrapper, limits: Limits) -> None:
        self._text = text
        self._cap = record_cap(limits)
        self._decode = json.JSONDecoder().raw_decode
        self._buffer = ""
        self._at = 0
        self._passed = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self._at = SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more(CHUNK):
                return ""

    def take(self, wanted: str) -> str:
        """The next character, one of `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            raise self._broken(f"expected one of {wanted}")
        self._at += 1
        return found

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self._decode(self._buffer, self._at)
                if end < len(self._buffer) or self._ended:
                    self._at = end
                    return value
            except RecursionError as error:
                raise self._broken("nested too deeply") from error
            except ValueError as error:
                if self._ended:
                    raise self._broken("no valid JSON") from error
            if len(self._buffer) - self._at > self._cap:
                raise self._broken(f"no valid JSON value within {self._cap:,} characters")
            self._more(max(CHUNK, len(self._buffer) - self._at))

    def array(self) -> Iterator[Any]:
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def descend(self, path: tuple[str, ...]) -> bool:
        """Stands at the value the path leads to; False when it leads nowhere."""
        return all(self.peek() == "{" and self._enter(name) for name in path)

    def _enter(self, name: str) -> bool:
        self.take("{")
        while self.peek() == '"':
            found = self.value()
            self.take(":")
            if found == name:
                return True
            self.value()
            if self.take(",}") == "}":
                break
        return False

    def leave(self, depth: int) -> None:
        """Skips what follows the found value in each of the objects entered."""
        for _ in range(depth):
            while self.take(",}") == ",":
                self.value()
                self.take(":")
                self.value()

    def _more(self, size: int) -> bool:
        chunk = self._text.read(size)
        self._ended = not chunk
        self._passed += self._at
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _broken(self, what: str) -> SourceError:
        return SourceError(
            f"at character {self._passed + self._at + 1:,}: {what}",
            "check format.kind, format.items and that the delivery is complete",
        )
