"""To whom does a message go, and which way? A unit, one of its people, or a customer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.kinds import Channel
from notifications.registry import WECOM
from policy.organisation import Organisation, Person
from tasks.workspace import Workspace

CUSTOMERS = "customers"
"""The folder of all messages to customers, where messages are files."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """`address`: a mail address or a robot's name; `folder`: whose message it is."""

    address: str = field(repr=False)
    folder: str
    mentions: tuple[str, ...] = ()
    reply_to: str | None = None


def way_out(ws: Workspace, channel: str) -> str:
    """The kind of transport that takes a channel's messages."""
    return WECOM if channel == Channel.WECOM else ws.settings.messages.transport


def recipient_of(ws: Workspace, message: Any, mailboxes: Mapping[str, str]) -> Recipient | str:
    """Whom a message row reaches, or why nobody; `mailboxes`: loop id -> its customer's address."""
    organisation = ws.published.documents.organisation
    by_robot = way_out(ws, message.channel) == WECOM
    if message.channel == Channel.CUSTOMER:
        if by_robot:
            return f"customers are reached by mail, and messages.transport is {WECOM}"
        return customer(organisation, message, mailboxes.get(message.loop_id))
    person = organisation.person_by_id.get(message.person or "")
    if person and person.contact.email and not by_robot:
        return Recipient(person.contact.email, person.id)
    for unit in filter(None, (person and person.unit, message.unit)):
        if by_robot and (robot := robot_of(organisation, unit)):
            return Recipient(robot, unit, called(person))
        if not by_robot and (address := mailbox_of(organisation, unit)):
            return Recipient(address, unit)
    return f"unit {message.unit} has no {'robot' if by_robot else 'address'}"


def customer(organisation: Organisation, message: Any, address: str | None) -> Recipient | str:
    """Answers go to the unit that answers for the loop."""
    if address is None:
        return "no e-mail address of the customer is left to use"
    return Recipient(address, CUSTOMERS, reply_to=mailbox_of(organisation, message.unit))


def called(person: Person | None) -> tuple[str, ...]:
    return (person.contact.wecom,) if person and person.contact.wecom else ()


def robot_of(organisation: Organisation, code: str) -> str | None:
    """A unit's own robot, or the nearest parent's."""
    robots = (unit.contact.wecom for unit in organisation.lineage(code))
    return next(filter(None, robots), None)


def mailbox_of(organisation: Organisation, code: str) -> str | None:
    """A unit's own mailbox, its head's, or the nearest parent's."""
    for unit in organisation.lineage(code):
        head = organisation.person_by_id.get(unit.head or "")
        if address := unit.contact.email or (head.contact.email if head else None):
            return address
    return None
