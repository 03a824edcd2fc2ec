"""Every table in one place, so that metadata is complete whenever it is asked for."""

from models.base import metadata
from models.clock import Clock
from models.customer import Customer, CustomerKey, CustomerSnapshot, JourneyEvent, Measure
from models.document import Document, Publication
from models.feedback import Batch, Feedback, Intake, Quarantine, RawItem, SourceState
from models.history import AuditCheckpoint, AuditHead, EventBody, HistoryEvent
from models.issue import Correction, Issue, Proposal
from models.loop import Loop, LoopIssue, LoopLink
from models.message import Delivery, Message
from models.ticket import Ticket
from models.verification import Verification

__all__ = [
    "AuditCheckpoint",
    "AuditHead",
    "Batch",
    "Clock",
    "Correction",
    "Customer",
    "CustomerKey",
    "CustomerSnapshot",
    "Delivery",
    "Document",
    "EventBody",
    "Feedback",
    "HistoryEvent",
    "Intake",
    "Issue",
    "JourneyEvent",
    "Loop",
    "LoopIssue",
    "LoopLink",
    "Measure",
    "Message",
    "Proposal",
    "Publication",
    "Quarantine",
    "RawItem",
    "SourceState",
    "Ticket",
    "Verification",
    "metadata",
]
