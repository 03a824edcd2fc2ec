"""Plain lines and JSON Lines to records: each line as it stands, blank ones left out."""

from typing import BinaryIO

from policy.source_spec import SourceSpec
from sources.framing import Frames, capped_lines, decoded
from sources.unpacking import content_streams


def frame(delivered: BinaryIO, spec: SourceSpec) -> Frames:
    """Raises SourceError, while iterating, at a line without end."""
    return Frames(
        line
        for content in content_streams(delivered, spec.limits)
        for line in capped_lines(decoded(content, spec.format, "\n"), spec.limits)
    )
