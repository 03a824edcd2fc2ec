"""A regulation as a dated document: its clocks, how they may be extended, stand still and restart.

Another law is another document. Every value is the bank's to confirm: `signed_by` says who in
compliance did, and an unsigned one runs in an example only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from policy.organisation import Text
from policy.timing import ClockSpec, PauseReason


@dataclass(frozen=True)
class Article:
    """One rule of the law in our words. `id` is what people are shown; `number` where the law has
    it, None as long as nobody has looked it up in the official text."""

    id: str
    title: Text
    says: Text
    number: str | None = None


@dataclass(frozen=True)
class Extension:
    """`days` more for its clocks, once, after the extension `after` (None: as the first).

    A reason is always needed; `level`: who must approve, as the policy names it; `notice`: the
    complainant must have been told; `evidence`: a reference must show the need.
    """

    id: str
    title: Text
    days: int
    article: str
    after: str | None = None
    level: str | None = None
    notice: bool = False
    evidence: bool = False


@dataclass(frozen=True)
class Review:
    """The complainant may object within `days` of the decision; `clock` is the answer's."""

    days: int
    article: str
    clock: str | None = None


@dataclass(frozen=True)
class Transfer:
    """A regulator forwards a complaint within `business_days`; ours begins when it reaches us."""

    business_days: int
    article: str


@dataclass(frozen=True)
class Keeping:
    """Records are kept `years` after a complaint is closed, those of credit reporting longer."""

    years: int
    article: str
    credit_reporting_years: int | None = None


@dataclass(frozen=True)
class Regulation:
    """One law from one day on. `merging`, `new_facts`, `withdrawal`, `conflict` name the article
    that says so; None: the law does not."""

    regulation: str
    title: Text
    law: Text
    effective: str
    articles: tuple[Article, ...]
    clocks: tuple[ClockSpec, ...]
    extensions: tuple[Extension, ...] = ()
    exclusions: tuple[PauseReason, ...] = ()
    """Why its clocks may stand still: time that the law does not count."""
    counts_receipt: bool = False
    rolls: bool = False
    merging: str | None = None
    """The same complaint again may be merged; the earliest clock stays."""
    new_facts: str | None = None
    """New facts or reasons: the period begins again when the new material is received."""
    withdrawal: str | None = None
    """A withdrawal ends it on the day it is received."""
    conflict: str | None = None
    """Nobody handles a complaint that they have a direct interest in (回避)."""
    review: Review | None = None
    transfers: Transfer | None = None
    retention: Keeping | None = None
    signed_by: str | None = None
    """Who in compliance has confirmed every value, by their id."""
    signed_on: str | None = None

    @cached_property
    def article_by_id(self) -> Mapping[str, Article]:
        return {article.id: article for article in self.articles}

    @cached_property
    def joined(self) -> tuple[ClockSpec, ...]:
        """Its clocks as they join those of the set: with its exclusions and ways of counting."""
        return tuple(
            replace(
                clock,
                pauses=(*clock.pauses, *self.exclusions),
                counts_receipt=clock.counts_receipt or self.counts_receipt,
                rolls=clock.rolls or self.rolls,
            )
            if clock.kind == "legal"
            else clock
            for clock in self.clocks
        )

    def cite(self, article: str) -> str:
        """How an article is quoted to people: `cn-2020-3 art. 15 处理期限 Time limits`."""
        found = self.article_by_id[article]
        name = f"art. {found.number}" if found.number else found.id
        return f"{self.regulation} {name} {found.title['zh']} / {found.title['en']}"


class Unlawful(ValueError):
    """The regulation does not allow it; the text quotes the article, `fix` says what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def extension_of(law: Regulation, name: str, given: str | None) -> Extension:
    """The extension asked for, when it follows the one `given` last. Raises Unlawful."""
    known = {one.id: one for one in law.extensions}
    if name not in known:
        names = ", ".join(f"{one.id} {one.title['zh']}" for one in law.extensions) or "-"
        raise Unlawful(f"{law.regulation} knows no extension {name!r}", f"use one of: {names}")
    wanted = known[name]
    if given == name:
        raise Unlawful(f"{name} was given already: {law.cite(wanted.article)}", "it is given once")
    if wanted.after != given:
        first = wanted.after or "none before it"
        what = f"{name} follows {first}, and {given or 'nothing'} was given: "
        raise Unlawful(what + law.cite(wanted.article), "see the order in the regulation document")
    return wanted


def check_extension(law: Regulation, wanted: Extension, notice: str, evidence: str) -> None:
    """Whether all that the law wants of an extension is there. Raises Unlawful."""
    article = law.cite(wanted.article)
    if wanted.notice and not notice.strip():
        what = f"{wanted.id} needs that the complainant was told: {article}"
        raise Unlawful(
            what, "tell them, and give --notice: the reference of letter, call or message"
        )
    if wanted.evidence and not evidence.strip():
        raise Unlawful(f"{wanted.id} needs evidence: {article}", "give --evidence: its reference")


def check_review(law: Regulation, decided: datetime, received: datetime, zone: ZoneInfo) -> Review:
    """Whether a request for review came within the law's days of the decision. Raises Unlawful."""
    if law.review is None:
        raise Unlawful(f"{law.regulation} knows no review", "take it in as a new complaint")
    first, day = decided.astimezone(zone).date(), received.astimezone(zone).date()
    last = last_day_of_review(law.review, first)
    if day > last:
        what = f"the request of {day} came after {last}: {law.cite(law.review.article)}"
        raise Unlawful(what, "take it in as a new complaint")
    if day < first:
        raise Unlawful(
            f"the request of {day} is older than the decision of {first}", "check --received"
        )
    return law.review


def last_day_of_review(review: Review, decided: date) -> date:
    """The day of the decision is not counted."""
    return decided + timedelta(days=review.days)
