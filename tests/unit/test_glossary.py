"""Every value of the closed lists that a reader may meet has its word in both languages."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from loopwright.glossary import GLOSSARY, title
from models.kinds import (
    Answer,
    ApprovalKind,
    ApprovalState,
    CallOutcome,
    ClockKind,
    EventKind,
    How,
    IssueKind,
    Level,
    LoopState,
    MessageState,
    Outcome,
    Relation,
    Stops,
    TicketState,
    Told,
    Unverified,
)

BANK = Path(__file__).parents[2] / "examples" / "bank"
SHIPPED = yaml.safe_load((BANK / "ladders.yaml").read_text("utf-8"))
OF_NO_LOOP = (
    "feedback.",
    "customer.",
    "body.",
    "issue.",
    "proposal.",
    "documents.",
    "message.",
    "source.",
)
LISTS: dict[str, Iterable[str]] = {
    "state": LoopState,
    "ticket": TicketState,
    "outcome": Outcome,
    "kind": IssueKind,
    "level": Level,
    "relation": Relation,
    "message": MessageState,
    "clock": ClockKind,
    "stops": Stops,
    "told": Told,
    "how": How,
    "answer": Answer,
    "why": [*Unverified, "asked recently", "checked", *(f"answer {a}" for a in Answer)],
    "call": CallOutcome,
    "via": ["mail", "call"],
    "role": ["lead", "participant"],
    "approval": ApprovalKind,
    "approval_state": ApprovalState,
    "tell": {step["tell"] for ladder in SHIPPED["ladders"] for step in ladder["steps"]},
    "event": [kind for kind in EventKind if not kind.startswith(OF_NO_LOOP)],
}


@pytest.mark.parametrize("group", LISTS)
def test_every_value_has_a_word(group: str) -> None:
    assert [value for value in LISTS[group] if str(value) not in GLOSSARY[group]] == []


def test_words_are_in_their_language_and_say_one_thing() -> None:
    for group, words in GLOSSARY.items():
        for zh, en in words.values():
            assert re.search("[\u4e00-\u9fff]", zh), zh
            assert not re.search("[\u4e00-\u9fff]", en), en
        chinese = [zh for zh, _ in words.values()]
        assert len(set(chinese)) == len(chinese), group


def test_an_unknown_value_is_shown_as_it_is() -> None:
    assert title("state", "unheard of", "zh") == "unheard of"
