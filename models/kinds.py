"""The closed lists of the domain: every enum a column or a decision may hold.

Free of SQLModel on purpose, so that `policy/` can use the same words without a database.
"""

from enum import StrEnum


class IssueKind(StrEnum):
    """What the customer is doing; `noise` has no usable content."""

    COMPLAINT = "complaint"
    SUGGESTION = "suggestion"
    PRAISE = "praise"
    ENQUIRY = "enquiry"
    LEAVE = "leave"
    NOISE = "noise"


class LoopKind(StrEnum):
    SMALL = "small"
    BIG = "big"


class LoopState(StrEnum):
    """Small: triage, open, resolved, verifying, closed. Big: candidate to watching, closed."""

    TRIAGE = "triage"
    OPEN = "open"
    RESOLVED = "resolved"
    VERIFYING = "verifying"
    CANDIDATE = "candidate"
    TRIAGED = "triaged"
    PLANNED = "planned"
    ACTING = "acting"
    WATCHING = "watching"
    CLOSED = "closed"


class Outcome(StrEnum):
    """How a loop ended; only `verified` counts as satisfied."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    WITHDRAWN = "withdrawn"
    MERGED = "merged"
    UNFOUNDED = "unfounded"
    PROVEN = "proven"
    NOT_PROVEN = "not proven"
    ABANDONED = "abandoned"


class TicketState(StrEnum):
    ASSIGNED = "assigned"
    ACCEPTED = "accepted"
    RESOLVED = "resolved"
    DONE = "done"
    REJECTED = "rejected"


class Level(StrEnum):
    """The level of the organisation that resolves a loop."""

    OUTLET = "outlet"
    SUB_BRANCH = "sub_branch"
    BRANCH = "branch"
    DEPARTMENT = "department"
    SEVERAL = "several"
    EXECUTIVE = "executive"


class UnitLevel(StrEnum):
    HEAD_OFFICE = "head_office"
    DEPARTMENT = "department"
    BRANCH = "branch"
    SUB_BRANCH = "sub_branch"
    OUTLET = "outlet"


class Priority(StrEnum):
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"


class IssueState(StrEnum):
    """`triage` waits for a person; `looped` belongs to a loop; `noted` opens nothing."""

    TRIAGE = "triage"
    LOOPED = "looped"
    NOTED = "noted"


class Relation(StrEnum):
    """Why an issue or loop hangs on another; each relation can be undone on its own."""

    ORIGIN = "origin"
    SAME_COMPLAINT = "same_complaint"
    SAME_CAUSE = "same_cause"


class MessageState(StrEnum):
    QUEUED = "queued"
    SENT = "sent"
    QUARANTINED = "quarantined"


class ClockKind(StrEnum):
    """Whose time it counts: the law's, the customer's, the owner's."""

    LEGAL = "legal"
    CUSTOMER = "customer"
    OWNER = "owner"


class Stops(StrEnum):
    """What ends a clock."""

    TOLD = "told"
    FIRST_ANSWER = "first_answer"
    CLOSED = "closed"
    RESOLVED = "resolved"


class Told(StrEnum):
    """What a customer was told: that somebody is on it, the decision, or what changed since."""

    FIRST_ANSWER = "first_answer"
    DECISION = "decision"
    CHANGE = "change"


class How(StrEnum):
    """By which way a customer was told."""

    CALL = "call"
    MESSAGE = "message"
    LETTER = "letter"


class Answer(StrEnum):
    """What the customer says to «is it solved?»."""

    YES = "yes"
    NO = "no"
    PARTLY = "partly"


class Way(StrEnum):
    """How a customer can be asked, or why not."""

    MAIL = "mail"
    CALL = "call"
    OPTED_OUT = "opted_out"
    UNREACHABLE = "unreachable"


class Unverified(StrEnum):
    """Why a loop closed without its customer's word; `refused`: to answer, when called."""

    SILENT = "silent"
    UNREACHABLE = "unreachable"
    OPTED_OUT = "opted out"
    REFUSED = "refused"


class CallOutcome(StrEnum):
    """How a call-back ended that brought no answer."""

    NO_ANSWER = "no_answer"
    BUSY = "busy"
    CALL_LATER = "call_later"
    WRONG_NUMBER = "wrong_number"
    REFUSED = "refused"


class ApprovalKind(StrEnum):
    """What somebody above must agree to."""

    MORE_TIME = "more_time"
    EXTENSION = "extension"
    COMPENSATION = "compensation"
    REPLY = "reply"
    PUBLICATION = "publication"
    TEMPLATE = "template"


class ApprovalState(StrEnum):
    WAITING = "waiting"
    GRANTED = "granted"
    REFUSED = "refused"


class Verdict(StrEnum):
    """What the numbers say of a fix. `too_little`: too few to say."""

    PROVEN = "proven"
    NOT_PROVEN = "not_proven"
    TOO_LITTLE = "too_little"


class Channel(StrEnum):
    """Which way a message takes: the installation's own, WeCom beside it, or to the customer."""

    MAIN = "main"
    WECOM = "wecom"
    CUSTOMER = "customer"


class Yields(StrEnum):
    """What a source's records become; `cases` are an older system's open ones, imported once."""

    FEEDBACK = "feedback"
    CUSTOMERS = "customers"
    MEASURES = "measures"
    JOURNEY_EVENTS = "journey_events"
    CASES = "cases"


class RatingKind(StrEnum):
    NPS = "nps"
    CSAT = "csat"
    CES = "ces"
    STARS = "stars"


class EventKind(StrEnum):
    """What can happen, in the past tense. Kinds are never renamed: old histories hold them."""

    LOOP_OPENED = "loop.opened"
    LOOP_JOINED = "loop.joined"
    LOOP_DETACHED = "loop.detached"
    LOOP_LINKED = "loop.linked"
    LOOP_UNLINKED = "loop.unlinked"
    LOOP_ROUTED = "loop.routed"
    LOOP_RESOLVED = "loop.resolved"
    LOOP_REOPENED = "loop.reopened"
    LOOP_DISPUTED = "loop.disputed"
    LOOP_ARBITRATED = "loop.arbitrated"
    LOOP_MERGED = "loop.merged"
    LOOP_WITHDRAWN = "loop.withdrawn"
    LOOP_CUSTOMER_IDENTIFIED = "loop.customer_identified"
    LOOP_CUSTOMER_TOLD = "loop.customer_told"
    LOOP_TRIAGED = "loop.triaged"
    LOOP_PLANNED = "loop.planned"
    LOOP_STARTED = "loop.started"
    LOOP_CLOSED = "loop.closed"
    LOOP_RELAPSED = "loop.relapsed"
    LOOP_CHANGE_DESCRIBED = "loop.change_described"
    LOOP_REVIEW_REQUESTED = "loop.review_requested"
    LOOP_HANDLER_BARRED = "loop.handler_barred"
    LOOP_COMPENSATED = "loop.compensated"
    EFFECT_MEASURED = "effect.measured"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_GRANTED = "approval.granted"
    APPROVAL_REFUSED = "approval.refused"
    VERIFICATION_ASKED = "verification.asked"
    VERIFICATION_ANSWERED = "verification.answered"
    VERIFICATION_POSTPONED = "verification.postponed"
    VERIFICATION_REMINDED = "verification.reminded"
    VERIFICATION_CALLED = "verification.called"
    VERIFICATION_SETTLED = "verification.settled"
    CLOCK_REMINDED = "clock.reminded"
    CLOCK_BREACHED = "clock.breached"
    CLOCK_CLIMBED = "clock.climbed"
    CLOCK_MOVED = "clock.moved"
    CLOCK_PAUSED = "clock.paused"
    CLOCK_RESUMED = "clock.resumed"
    CLOCK_EXTENDED = "clock.extended"
    CLOCK_RESTARTED = "clock.restarted"
    CLOCK_RECOMPUTED = "clock.recomputed"
    TICKET_ASSIGNED = "ticket.assigned"
    TICKET_ACCEPTED = "ticket.accepted"
    TICKET_REJECTED = "ticket.rejected"
    TICKET_TRANSFERRED = "ticket.transferred"
    TICKET_RESOLVED = "ticket.resolved"
    TICKET_GIVEN = "ticket.given"
    TICKET_PROGRESSED = "ticket.progressed"
    FEEDBACK_INGESTED = "feedback.ingested"
    FEEDBACK_FOLLOWED = "feedback.followed"
    INTAKE_FINISHED = "intake.finished"
    FEEDBACK_TRIAGED = "feedback.triaged"
    FEEDBACK_GIVEN_UP = "feedback.given_up"
    ISSUE_DECIDED = "issue.decided"
    PROPOSAL_DECIDED = "proposal.decided"
    DOCUMENTS_PUBLISHED = "documents.published"
    MESSAGE_SENT = "message.sent"
    MESSAGE_QUARANTINED = "message.quarantined"
    MESSAGE_REQUEUED = "message.requeued"
    MESSAGE_TESTED = "message.tested"
    SOURCE_STOPPED = "source.stopped"
    SOURCE_RESUMED = "source.resumed"
    SOURCE_SWITCHED = "source.switched"
    RED_RAISED = "red.raised"
    RED_JUDGED = "red.judged"
    PERSON_LEAVE_RECORDED = "person.leave_recorded"
    PERSON_HANDED_OVER = "person.handed_over"
    PROGRAM_STARTED = "program.started"
    DATABASE_MIGRATED = "database.migrated"
    DATABASE_SCRUBBED = "database.scrubbed"
    HISTORY_RESTORED = "history.restored"
    HISTORY_KEY_RENEWED = "history.key_renewed"
    HISTORY_SEAL_REFUSED = "history.seal_refused"
    HISTORY_EXPORTED = "history.exported"
    CASES_EXPORTED = "cases.exported"
    CUSTOMER_UNITED = "customer.united"
    CUSTOMER_ERASURE_BEGUN = "customer.erasure_begun"
    CUSTOMER_ERASED = "customer.erased"
    BODY_ERASED = "body.erased"


class Authority(StrEnum):
    """By whose authority personal data are erased."""

    CUSTOMER_REQUEST = "customer_request"
    COURT = "court"
    REGULATOR = "regulator"
    RETENTION = "retention"
