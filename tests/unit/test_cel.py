"""The CEL adapter: what holds, what is an error as a value, what lint refuses."""

import pytest

from policy import cel

TYPES: dict[str, type] = {
    "kind": str,
    "severity": int,
    "sentiment": float,
    "vulnerable": bool,
    "signals": list,
    "text_chars": int,
}
VALUES = {
    "kind": "complaint",
    "severity": 2,
    "sentiment": -0.6,
    "vulnerable": True,
    "signals": ["law", "loud"],
    "text_chars": 12,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("kind == 'complaint'", True),
        ("kind in ['praise', 'noise']", False),
        ("severity >= 2 && !vulnerable", False),
        ("sentiment < 0", True),
        ("'law' in signals", True),
        ("size(signals) > 2", False),
        ("signals.exists(s, s.startsWith('lo'))", True),
    ],
)
def test_holds(text: str, expected: bool) -> None:
    assert cel.holds(cel.compile_clause(text), cel.facts(VALUES)) is expected
    assert cel.problems(text, TYPES) == []


@pytest.mark.parametrize(
    "text", ["missing > 1", "kind >= 3", "severity + 1.5 > 2.0", "kind", "severity", "signals"]
)
def test_what_gives_no_truth_is_a_failure(text: str) -> None:
    result = cel.holds(cel.compile_clause(text), cel.facts(VALUES))
    assert isinstance(result, cel.Failure)
    assert text in result.reason


def test_names_leave_out_a_macros_own_variable() -> None:
    assert cel.compile_clause("signals.all(s, s != kind)").names == {"signals", "kind"}


def test_a_syntax_error_says_where() -> None:
    with pytest.raises(cel.ClauseError, match="1:"):
        cel.compile_clause("kind ==")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("kind ==", "Syntax"),
        ("severty > 1", "unknown name 'severty'"),
        ("signals.map(s, s) == []", "'map'"),
        ("signals.filter(s, s == 'law') == []", "'filter'"),
        ("signals.exists_one(s, s == 'law')", "'exists_one'"),
        ("signals.exists(s, signals.exists(t, s == t))", "more than one"),
        ("severity + 1 > 2", "'+'"),
        ("-severity < 1", "'-'"),
        ("kind.matches('a+')", "'matches'"),
        ("vulnerable ? true : false", "'?_:'"),
        ("size(kind) > 3", "counts bytes"),
        ("kind.size() > 3", "counts bytes"),
        ("severity == '4'", "compared with '4'"),
        ("'4' == severity", "compared with '4'"),
        ("vulnerable == 1", "compared with 1"),
        ("severity == true", "compared with True"),
        ("kind in ['praise', 3]", "compared with 3"),
        ("3 in signals", "compared with 3"),
    ],
)
def test_lint_refuses(text: str, word: str) -> None:
    found = cel.problems(text, TYPES)
    assert any(word in what for what, _ in found), found
    assert all(fix for _, fix in found)


def test_size_of_a_text_counts_bytes_which_is_why_lint_refuses_it() -> None:
    """Pins a known departure of the library from the CEL specification."""
    assert cel.holds(cel.compile_clause("size(kind) == 6"), cel.facts({"kind": "投诉"})) is True


def test_a_macro_named_inside_a_text_is_no_macro() -> None:
    assert cel.problems("kind == 'a.map(x, y)'", TYPES) == []
