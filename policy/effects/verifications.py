"""What an event changes of the questions put to a customer."""

from collections.abc import Callable, Mapping

from models.kinds import EventKind, LoopState
from policy.clock_notation import moment
from policy.effects.clocks import TOLD_ALL, stop_clocks
from policy.story import Happening, Row, Story

QUIET = {"due_at": None, "call_at": None}
"""Of a question that nobody waits to have answered."""


def asked(story: Story, event: Happening) -> None:
    """The question is put, or a call is still to be made. Who is asked has been told the decision
    once the message was sent; histories older than that fact took its queueing for it."""
    data, by_call = event.data, event.data["via"] == "call"
    story.loop |= {"state": LoopState.VERIFYING, "ask_at": None}
    story.verifications[data["verification"]] = {
        "id": data["verification"],
        "loop_id": event.loop,
        "via": data["via"],
        "asked_at": event.at,
        "due_at": moment(data["due_at"]),
        "answer": None,
        "answered_at": None,
        "contacts": 0 if by_call else 1,
        "contacted_at": None if by_call else event.at,
        "call_at": event.at if by_call else None,
        "doubt": False,
        "first_answer": None,
        "outcome": None,
    }
    if data.get("told", not by_call):
        stop_clocks(story, event.at, TOLD_ALL)


def postponed(story: Story, event: Happening) -> None:
    """Asked too recently: this question waits."""
    story.loop["ask_at"] = moment(event.data["until"])


def reminded(story: Story, event: Happening) -> None:
    """Written to again; or whoever should call was: that is no contact with the customer."""
    verification = story.verifications[event.data["verification"]]
    verification["due_at"] = moment(event.data["due_at"])
    if event.data.get("via", verification["via"]) == "mail":
        contact(verification, event)
    else:
        verification |= {"via": "call", "call_at": verification["call_at"] or event.at}


def contact(verification: Row, event: Happening) -> None:
    verification |= {"contacts": verification["contacts"] + 1, "contacted_at": event.at}


def called(story: Story, event: Happening) -> None:
    """A call that brought no answer; `call_at` is when to try again."""
    verification = story.verifications[event.data["verification"]]
    again = event.data.get("call_at")
    contact(verification, event)
    verification |= {
        "due_at": moment(event.data["due_at"]),
        "call_at": moment(again) if again else None,
        "outcome": event.data["outcome"],
    }


def answered(story: Story, event: Happening) -> None:
    """Whoever answers has been told. What was said first stays when somebody changes their mind."""
    stop_clocks(story, event.at, TOLD_ALL)
    verification = story.verifications.get(event.data.get("verification") or "")
    if verification is not None:
        if verification["answer"] is None and verification["via"] == "call":
            contact(verification, event)
        verification |= QUIET | {
            "first_answer": verification["first_answer"] or verification["answer"],
            "answer": event.data["answer"],
            "answered_at": event.at,
            "doubt": bool(event.data.get("doubt")),
        }


def settled(story: Story, event: Happening) -> None:
    """A person read the words and says what the customer meant."""
    story.verifications[event.data["verification"]] |= {
        "answer": event.data["answer"],
        "answered_at": event.at,
        "doubt": False,
    }


def settle_verifications(story: Story) -> None:
    """Nobody waits for an answer any more."""
    for verification in story.verifications.values():
        verification |= QUIET | {"doubt": False}


EFFECTS: Mapping[EventKind, Callable[[Story, Happening], None]] = {
    EventKind.VERIFICATION_ASKED: asked,
    EventKind.VERIFICATION_POSTPONED: postponed,
    EventKind.VERIFICATION_REMINDED: reminded,
    EventKind.VERIFICATION_CALLED: called,
    EventKind.VERIFICATION_ANSWERED: answered,
    EventKind.VERIFICATION_SETTLED: settled,
}
