"""docs/reference/features.md names every feature a rule may ask for, with its type."""

import re
from pathlib import Path

from policy.route import FEATURES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "features.md"
TYPES = {
    str: "text",
    int: "whole number",
    float: "decimal",
    bool: "yes or no",
    list: "list of texts",
}


def test_the_page_names_exactly_the_features_with_their_types() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == {name: TYPES[kind] for name, kind in FEATURES.items()}
