"""Is a policy clause true of these facts? The one adapter to common-expression-language (CEL).

Measured facts of version 0.10.0 behind the refusals below: `==` and `in` are silent across types,
`size(text)` counts UTF-8 bytes, there is no cost limit, and macros vanish when compiled.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

Fix = tuple[str, str]
"""What is wrong, and what to do about it."""

_COMPARING = ("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in")
_JOINING = ("_&&_", "_||_", "!_", "@not_strictly_false")
_ASKING = ("size", "startsWith", "endsWith", "contains")
_ALLOWED = frozenset((*_COMPARING, *_JOINING, *_ASKING))
_STRINGS = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_MACRO = re.compile(r"\.\s*(exists_one|exists|all|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_SIZED = re.compile(r"\bsize\s*\(\s*([A-Za-z_]\w*)\s*\)|\b([A-Za-z_]\w*)\s*\.\s*size\s*\(\s*\)")


class ClauseError(ValueError):
    """A clause that is not CEL."""


@dataclass(frozen=True)
class Failure:
    """An evaluation that gave no truth: the error as a value."""

    reason: str


@dataclass(frozen=True)
class Expression:
    text: str
    names: frozenset[str]
    """Names the caller must supply (a macro's own variable is not among them)."""
    program: Any


def compile_clause(text: str) -> Expression:
    """Raises ClauseError with CEL's own position when the text is not CEL."""
    # Only who judges needs it: its import brings a terminal's whole toolkit along.
    import cel

    try:
        program = cel.compile(text)
    except ValueError as error:
        raise ClauseError(str(error)) from error
    names = frozenset(program.variables()) - {variable for _, variable in _macros(text)}
    return Expression(text, names, program)


def facts(values: Mapping[str, object]) -> Any:
    """One context for one record, to be shared by all of its clauses."""
    from cel import Context

    return Context(dict(values))


def holds(expression: Expression, context: Any) -> bool | Failure:
    """Only `True` holds; an error or a value that is no boolean is a Failure, never false."""
    try:
        result = expression.program.execute(context)
    except (RuntimeError, TypeError, ValueError) as error:
        return Failure(f"{expression.text}: {error}")
    if result is True or result is False:
        return bool(result)
    return Failure(f"{expression.text}: gives {result!r}, not true or false")


def problems(text: str, types: Mapping[str, type]) -> list[Fix]:
    """What lint refuses in a clause whose facts have the given types."""
    try:
        expression = compile_clause(text)
    except ClauseError as error:
        return [(str(error).splitlines()[0], "write one CEL expression that is true or false")]
    return [
        *_unknown_names(expression, types),
        *_refused_macros(text),
        *_refused_functions(expression),
        *_sized_texts(text, types),
        *_mixed_types(text, types),
    ]


def _macros(text: str) -> list[tuple[str, str]]:
    return [(m[1], m[2]) for m in _MACRO.finditer(_STRINGS.sub("''", text))]


def _unknown_names(expression: Expression, types: Collection[str]) -> list[Fix]:
    return [
        (f"unknown name '{name}'", "use one of: " + ", ".join(sorted(types)))
        for name in sorted(expression.names - set(types))
    ]


def _refused_macros(text: str) -> list[Fix]:
    used = [name for name, _ in _macros(text)]
    found = [
        (f"'{name}' is not allowed: its cost has no limit", "ask with 'in', exists or all")
        for name in used
        if name not in ("exists", "all")
    ]
    if len(used) > 1:
        found.append(("more than one exists/all in a clause", "keep one, or write two clauses"))
    return found


def _refused_functions(expression: Expression) -> list[Fix]:
    """Operators outside the allow-list; a refused macro already explains the ones it expands to."""
    if any(name not in ("exists", "all") for name, _ in _macros(expression.text)):
        return []
    return [
        (f"'{name.strip('_')}' is not allowed in a clause", _INSTEAD.get(name, "compare features"))
        for name in expression.program.functions()
        if name not in _ALLOWED
    ]


_INSTEAD = {
    **dict.fromkeys(
        ("_+_", "_-_", "_*_", "_/_", "_%_", "-_"),
        "no arithmetic: CEL does not add whole numbers to decimals; compare with a literal",
    ),
    "matches": "put the words into a signal of the taxonomy and ask for it",
    "_?_:_": "write two rules",
}


def _sized_texts(text: str, types: Mapping[str, type]) -> list[Fix]:
    sized = (m[1] or m[2] for m in _SIZED.finditer(_STRINGS.sub("''", text)))
    return [
        (f"size({name}) counts bytes, not characters", "use text_chars; size is for lists")
        for name in sized
        if types.get(name) is str
    ]


_LITERAL = r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|-?\d+(?:\.\d+)?|true\b|false\b"
_COMPARED = re.compile(rf"\b([A-Za-z_]\w*)\s*(?:[=!]=|[<>]=?)\s*({_LITERAL})")
_COMPARED_LEFT = re.compile(rf"({_LITERAL})\s*(?:[=!]=|[<>]=?)\s*\b([A-Za-z_]\w*)\b(?!\s*\()")
_AMONG = re.compile(rf"\b([A-Za-z_]\w*)\s+in\s+\[((?:\s*(?:{_LITERAL})\s*,?)*)\]")
_HAS = re.compile(rf"({_LITERAL})\s+in\s+([A-Za-z_]\w*)\b")


def literals(text: str) -> list[tuple[str, object]]:
    """(name, literal) for every comparison of a name with a literal, `in` included."""
    pairs = [(m[1], m[2]) for m in _COMPARED.finditer(text)]
    pairs += [(m[2], m[1]) for m in _COMPARED_LEFT.finditer(text)]
    pairs += [(m[1], raw) for m in _AMONG.finditer(text) for raw in re.findall(_LITERAL, m[2])]
    pairs += [(m[2], m[1]) for m in _HAS.finditer(text)]
    return [(name, _value(raw)) for name, raw in pairs]


def _value(raw: str) -> object:
    if raw[0] in "'\"":
        return raw[1:-1]
    if raw in ("true", "false"):
        return raw == "true"
    return float(raw) if "." in raw else int(raw)


def _mixed_types(text: str, types: Mapping[str, type]) -> list[Fix]:
    """`==` and `in` are silent across types, so a mixed comparison would just never hold."""
    return [
        (f"{name} is compared with {value!r}", f"{name} is {_say(types[name])}")
        for name, value in literals(text)
        if name in types and not _comparable(value, types[name])
    ]


def _comparable(value: object, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind in (int, float):
        return isinstance(value, int | float)
    return isinstance(value, str)


def _say(kind: type) -> str:
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}.get(
        kind, "a list of texts"
    )
