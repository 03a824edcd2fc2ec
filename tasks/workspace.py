"""What every step needs at hand: settings, database, published documents, the run's name."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from loopwright.db import Database
from loopwright.errors import EnvironmentFault
from loopwright.history.envelope import SYSTEM, Actor
from loopwright.migrate import require_current
from loopwright.settings import Settings
from policy.classify import Classifier
from policy.linear import LinearModel
from policy.red import RedRules
from policy.route import Place, Router, places
from policy.source_spec import SourceSpec
from tasks.clocks.starting import Clocks
from tasks.documents.publish import Published, published
from tasks.documents.topic_model import topic_model
from tasks.intake.identify import Hasher


@dataclass
class Workspace:
    """One process's view of one organisation. `run` names the flow run for the history."""

    settings: Settings
    db: Database
    run: str | None = None
    publication: int | None = field(default=None, repr=False)
    judged: dict[str, Clocks] = field(default_factory=dict, repr=False)
    """Publication -> the clocks and ladders of loops that were judged by it."""
    by: Actor = SYSTEM
    """Who takes in what is taken in."""

    @contextmanager
    def acting(self, by: Actor) -> Iterator[None]:
        """Until its end everything that comes in is taken in by this actor."""
        before, self.by = self.by, by
        try:
            yield
        finally:
            self.by = before

    @cached_property
    def published(self) -> Published:
        found = published(self.db, self.publication)
        spare_collector()
        return found

    @property
    def policy_version(self) -> str:
        """What loops and events call the policy they were judged by: the publication's number."""
        return str(self.published.number)

    @cached_property
    def classifier(self) -> Classifier:
        documents = self.published.documents
        return Classifier(documents.taxonomy, documents.rulebook.confidence)

    @cached_property
    def router(self) -> Router:
        return Router(self.published.documents.rulebook)

    @cached_property
    def red_rules(self) -> RedRules:
        return RedRules(self.published.documents.rulebook)

    @cached_property
    def places(self) -> dict[str, Place]:
        return places(self.published.documents.taxonomy)

    @cached_property
    def clocks(self) -> Clocks:
        return Clocks(self.published.documents)

    def clocks_of(self, policy: str | None) -> Clocks:
        """The clocks and ladders that a loop was judged by, on the calendars of today.

        Those that run now for a publication that cannot be read any more.
        """
        if policy is None or policy == self.policy_version:
            return self.clocks
        if policy not in self.judged:
            self.judged[policy] = self.frozen(policy)
        return self.judged[policy]

    def frozen(self, policy: str) -> Clocks:
        try:
            judged = published(self.db, int(policy)).documents
        except (ValueError, EnvironmentFault):
            return self.clocks
        return Clocks(self.published.documents, judged)

    @cached_property
    def model(self) -> LinearModel | None:
        """The topic model of the published recipe; trained at first use, then kept on disk."""
        return topic_model(self.published, self.settings.models)

    @cached_property
    def hasher(self) -> Hasher:
        return Hasher(identity_secret(self.settings))

    @cached_property
    def sources(self) -> dict[str, SourceSpec]:
        return {spec.name: spec for spec in self.published.documents.sources}


def open_workspace(
    settings: Settings, run: str | None = None, *, dry_run: bool = False
) -> Workspace:
    """A workspace on a database whose schema is current. Raises EnvironmentFault otherwise."""
    db = Database(settings.database.url, dry_run=dry_run)
    require_current(db)
    return Workspace(settings, db, run)


def spare_collector() -> None:
    """Keep the garbage collector from walking code and documents over and over.

    They live as long as the process, while chunks of rows make many young objects: without this
    the collector takes a quarter of the whole time (see `make bench`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def drop_garbage() -> None:
    """After a chunk: drivers leave cycles that hold all its rows, and memory must not grow."""
    gc.collect()


def identity_secret(settings: Settings) -> bytes:
    """The key of the customer hashes. Raises EnvironmentFault when none is set."""
    if settings.identity.secret is not None:
        return settings.identity.secret.get_secret_value().encode()
    path = settings.identity.secret_path
    if path.is_file():
        return path.read_bytes().strip()
    raise EnvironmentFault(
        "there is no secret for customers' keys",
        "set LOOPWRIGHT_IDENTITY__SECRET or identity.secret_path; `loopwright init` makes one",
    )
