"""docs/reference/settings.md names every setting with its default."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest
from pydantic import BaseModel

from loopwright.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
ROW = re.compile(r"^\| `([a-z_.]+)` \| ([^|]+) \|", re.MULTILINE)


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from settings_of(type(field.default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


SETTINGS = dict(settings_of(Settings))
DOCUMENTED = dict(ROW.findall(PAGE.read_text("utf-8")))


def shown(default: object) -> str:
    if default is None:
        return "none"
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in default) + "]`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default.as_posix() if isinstance(default, PurePath) else default}`"


def test_the_page_names_exactly_the_settings_there_are() -> None:
    assert DOCUMENTED.keys() == SETTINGS.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_the_default_is_right(name: str) -> None:
    assert DOCUMENTED[name].strip() == shown(SETTINGS[name])
