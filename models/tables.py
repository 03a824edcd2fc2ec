"""Every table in one place, so that metadata is complete whenever it is asked for."""

from models.absence import Absence
from models.approval import Approval
from models.base import metadata
from models.clock import Clock, Recount
from models.conversation import Conversation, FollowedFile
from models.customer import Customer, CustomerKey, CustomerSnapshot, JourneyEvent, Measure
from models.document import Document, Publication
from models.effect import Effect
from models.feedback import Batch, Feedback, Intake, Quarantine, RawItem, SourceState
from models.history import AuditCheckpoint, AuditHead, EventBody, HistoryEvent
from models.issue import Correction, Issue, Proposal
from models.loop import Loop, LoopIssue, LoopLink
from models.message import Delivery, Message
from models.red_alert import RedAlert
from models.ticket import Ticket
from models.verification import Verification

__all__ = [
    "Absence",
    "Approval",
    "AuditCheckpoint",
    "AuditHead",
    "Batch",
    "Clock",
    "Conversation",
    "Correction",
    "Customer",
    "CustomerKey",
    "CustomerSnapshot",
    "Delivery",
    "Document",
    "Effect",
    "EventBody",
    "Feedback",
    "FollowedFile",
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
    "Recount",
    "RedAlert",
    "SourceState",
    "Ticket",
    "Verification",
    "metadata",
]
