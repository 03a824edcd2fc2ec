"""Which of many phrase lists does a text contain? One RE2 set answers for all lists at once.

RE2's `\\b`, `\\w` and `\\W` know ASCII only: to them every Chinese character is a `\\W`. Patterns
for Chinese say `[^\\p{L}\\p{N}]` instead.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import re2

from policy.taxonomy import Words

_SET_MEMORY = 16 << 20
_PATTERN_MEMORY = 8 << 20
_ANYWHERE = re2._Anchor.UNANCHORED
_NEVER = r"[^\x00-\x{10FFFF}]"
_FOLDED = {
    ord(c): unicodedata.normalize("NFKC", c)
    for c in map(chr, range(0xFF01, 0xFF5F))
    if c.isalnum() or c == "％"
} | dict.fromkeys(map(ord, "’‘＇`"), "'")
_FOLDABLE = re.compile(f"[{''.join(map(chr, _FOLDED))}]")


def fold(text: str) -> str:
    """Full-width letters and digits to plain ones (NFKC) and curly apostrophes to straight ones.

    One character stays one character, so positions in the folded text hold in the original.
    """
    return text.translate(_FOLDED) if _FOLDABLE.search(text) else text


def prepare(text: str) -> bytes:
    """The form in which an index may be asked several times about one text at no further cost."""
    return fold(text).encode()


def check_pattern(pattern: str) -> str | None:
    """Why RE2 refuses the pattern, or None when it is usable; it must not match the empty text."""
    try:
        compiled = _compile(pattern)
    except re2.error as error:
        return _reason(error)
    return "matches the empty text, so it matches everything" if compiled.search("") else None


class WordIndex:
    """Phrase lists compiled once, asked many times. Built by `compile_words`.

    One RE2 set holds every list's keywords. Patterns and `unless` sit beside it in an RE2 filter,
    which runs only those whose fixed letters occur: in the set their gaps would multiply its
    states (measured: 60 times slower on text not seen before).
    Questions take a text, or its prepared form when several are asked.
    """

    __slots__ = ("_filter", "_forbids", "_hits", "_owners", "_set")

    def __init__(self, entries: Sequence[tuple[str, Words]]) -> None:
        """Raises ValueError naming the entry whose pattern RE2 refuses."""
        compiled = (_compile(_alternation(name, words)) for name, words in entries)
        self._hits = tuple(expression._regexp.Match for expression in compiled)
        self._set: Any = re2.Set.SearchSet(_options(_SET_MEMORY))
        self._filter: Any = re2.Filter()
        self._owners: list[int] = []
        self._forbids: list[bool] = []
        for n, (name, words) in enumerate(entries):
            self._set.Add("|".join(_keywords(name, words)) or _NEVER)
            self._add(n, words.patterns, forbids=False)
            self._add(n, [_checked(name, p) for p in words.unless], forbids=True)
        self._add(-1, [_NEVER], forbids=False)
        self._set.Add(_NEVER)
        self._set.Compile()
        self._filter.Compile()

    def _add(self, entry: int, patterns: Iterable[str], *, forbids: bool) -> None:
        for pattern in patterns:
            self._filter.Add(pattern, _options(_PATTERN_MEMORY))
            self._owners.append(entry)
            self._forbids.append(forbids)

    def match(self, text: str | bytes) -> tuple[int, ...]:
        """Ascending positions of the entries whose words occur and whose `unless` does not."""
        data = _prepared(text)
        found = self._set.Match(data)
        matched = self._filter.Match(data)
        if matched is None:
            return tuple(sorted(found)) if found else ()
        entries = set(found or ())
        entries.update(self._owners[n] for n in matched if not self._forbids[n])
        entries.difference_update([self._owners[n] for n in matched if self._forbids[n]])
        return tuple(sorted(entries))

    def find(self, text: str | bytes, index: int) -> tuple[int, int] | None:
        """First and past-the-last character of the entry's first hit; None when it has none."""
        data = _prepared(text)
        first, last = self._hit(data, index, 0)
        if first < 0:
            return None
        start = len(data[:first].decode())
        return start, start + len(data[first:last].decode())

    def words(self, text: str | bytes, index: int) -> str:
        """The folded words of the entry's first hit; empty when it has none."""
        data = _prepared(text)
        first, last = self._hit(data, index, 0)
        return data[first:last].decode() if first >= 0 else ""

    def lengths(self, text: str | bytes, index: int) -> list[int]:
        """UTF-8 bytes of every hit of the entry, in order, none overlapping."""
        data = _prepared(text)
        found = []
        first, last = self._hit(data, index, 0)
        while first >= 0:
            found.append(last - first)
            first, last = self._hit(data, index, last)
        return found

    def _hit(self, data: bytes, index: int, start: int) -> tuple[int, int]:
        """The next hit's bytes; -1 when there is none.

        Asks RE2 below its Python wrapper, whose match objects cost three times the search.
        """
        span: tuple[int, int] = self._hits[index](_ANYWHERE, data, start, len(data))[0]
        return span


def compile_words(entries: Sequence[tuple[str, Words]]) -> WordIndex:
    """An index over named phrase lists; raises ValueError naming the entry RE2 refuses."""
    return WordIndex(entries)


def _alternation(name: str, words: Words) -> str:
    """One RE2 expression that hits wherever any keyword or pattern of the entry does."""
    patterns = [f"(?:{_checked(name, p)})" for p in words.patterns]
    return "|".join([*_keywords(name, words), *patterns]) or _NEVER


def _keywords(name: str, words: Words) -> list[str]:
    """Chinese keywords as they are, English ones at word borders."""
    english = "|".join(_keyword(name, w) for w in words.en)
    chinese = [_keyword(name, w) for w in words.zh]
    return [*chinese, rf"\b(?:{english})\b"] if english else chinese


def _prepared(text: str | bytes) -> bytes:
    return prepare(text) if isinstance(text, str) else text


def _keyword(name: str, word: str) -> str:
    """The keyword as an expression; any run of white space stands for one blank."""
    parts = fold(word).split()
    if not parts:
        raise ValueError(f"{name}: an empty keyword matches everything")
    return r"\s+".join(map(re2.escape, parts))


def _checked(name: str, pattern: str) -> str:
    reason = check_pattern(pattern)
    if reason:
        raise ValueError(f"{name}: {pattern!r}: {reason}")
    return pattern


def _options(memory: int) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.never_capture = True
    options.max_mem = memory
    return options


def _compile(pattern: str) -> Any:
    return re2.compile(pattern, _options(_PATTERN_MEMORY))


def _reason(error: Exception) -> str:
    detail: Iterable[object] = error.args or (error,)
    return "; ".join(d.decode() if isinstance(d, bytes) else str(d) for d in detail)
