"""A source's times to UTC: compiled once per field, then a fraction of a microsecond a value."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from policy.source_spec import TimeSpec
from sources.errors import RecordError, SourceError

ReadTime = Callable[[str], datetime]

CACHED = 65_536
"""Days repeat, moments do not: only values as short as a day are remembered, and so many."""
DAY_LENGTH = 10

GROUPS = {"%Y": r"(\d{4})", "%m": r"(\d{1,2})", "%d": r"(\d{1,2})", "%H": r"(\d{1,2})",
          "%M": r"(\d{1,2})", "%S": r"(\d{1,2})"}  # fmt: skip
ORDER = tuple(GROUPS)


def compile_time(spec: TimeSpec, iso_too: bool = False) -> ReadTime:
    """A reader of one field's trimmed, non-empty texts into UTC; it raises RecordError.

    A naive value is local to `spec.zone`: of an hour that happens twice the first is meant, and
    an hour that is skipped is read as if the clock had not been moved yet (PEP 495, fold=0).
    A day alone is its first moment. `iso_too` accepts ISO beside the pattern, which is how the
    date cells of a workbook arrive.
    """
    zone = _zone(spec.zone)
    read = _or_iso(_moment(spec)) if iso_too else _moment(spec)
    days: dict[str, datetime] = {}

    def to_utc(text: str) -> datetime:
        if text in days:
            return days[text]
        try:
            moment = read(text)
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            raise RecordError(f"not a time of the form {spec.format}", spec.field) from None
        if len(text) <= DAY_LENGTH and len(days) < CACHED:
            days[text] = moment
        return moment

    return to_utc


def compile_day(spec: TimeSpec, iso_too: bool = False) -> Callable[[str], date]:
    """The same for a day, which stays a day of the source's own zone."""
    zone = _zone(spec.zone)
    read = compile_time(spec, iso_too)
    return lambda text: read(text).astimezone(zone).date()


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise SourceError(
            f"the time zone {name!r} is unknown", "use a name such as Asia/Shanghai"
        ) from None


def _moment(spec: TimeSpec) -> Callable[[str], datetime]:
    if spec.format == "iso":
        return datetime.fromisoformat
    if spec.format in {"epoch_s", "epoch_ms"}:
        unit = 1 if spec.format == "epoch_s" else 1000
        return lambda text: datetime.fromtimestamp(float(text) / unit, UTC)
    return _numeric(spec.format) or _general(spec)


def _general(spec: TimeSpec) -> Callable[[str], datetime]:
    if "%" not in spec.format:
        raise SourceError(
            f"the time format {spec.format!r} of field {spec.field!r} is no pattern",
            "use iso, epoch_s, epoch_ms or a pattern such as %Y/%m/%d %H:%M:%S",
        )
    return lambda text: datetime.strptime(text, spec.format)  # noqa: DTZ007


def _numeric(pattern: str) -> Callable[[str], datetime] | None:
    """A regular expression for patterns of plain numbers: five times faster than strptime."""
    parts = re.findall(r"%.|[^%]+", pattern)
    used = [part for part in parts if part.startswith("%")]
    if not {"%Y", "%m", "%d"} <= set(used) <= set(ORDER) or len(set(used)) < len(used):
        return None
    match = re.compile("".join(GROUPS.get(part) or re.escape(part) for part in parts)).fullmatch
    present = [name for name in ORDER if name in used]
    if tuple(present) != ORDER[: len(present)]:
        return None
    places = tuple(used.index(name) + 1 for name in present)

    def read(text: str) -> datetime:
        found = match(text)
        if not found:
            raise ValueError
        return datetime(*map(int, found.group(*places)))  # type: ignore[arg-type]  # noqa: DTZ001

    return read


def _or_iso(read: Callable[[str], datetime]) -> Callable[[str], datetime]:
    def either(text: str) -> datetime:
        try:
            return read(text)
        except ValueError:
            return datetime.fromisoformat(text)

    return either
