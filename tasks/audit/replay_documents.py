"""Do the documents that were published hash to what their event says?"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from models.base import table
from models.document import Document
from models.kinds import EventKind
from tasks.audit.replay_events import Entry, Replay
from tasks.documents.publish import digest, hash_of

DOCUMENTS = table(Document)


@dataclass
class Documents:
    """Each published set, one file in memory at a time."""

    result: Replay
    sets: list[tuple[int, int, str, int]] = field(default_factory=list)
    """Seq, publication, hash of the set, number of files."""
    files: int = 0
    kinds: Iterable[EventKind] = (EventKind.DOCUMENTS_PUBLISHED,)

    def take(self, entry: Entry) -> None:
        said = (entry.text("sha256"), entry.number("files"))
        self.sets.append((entry.seq, entry.number("publication"), *said))

    def flush(self, tx: Connection) -> None:
        for seq, publication, total, files in self.sets:
            self.compare(tx, seq, publication, total, files)
        self.sets = []

    def compare(self, tx: Connection, seq: int, publication: int, total: str, files: int) -> None:
        mine = DOCUMENTS.c.publication == publication
        query = select(DOCUMENTS.c.name, DOCUMENTS.c.sha256, DOCUMENTS.c.content).where(mine)
        hashes: dict[str, str] = {}
        for row in tx.execute(query.execution_options(yield_per=1)):
            hashes[row.name] = digest(row.content)
            if row.sha256 != hashes[row.name]:
                self.result.differ(
                    f"document {row.name} of publication {publication}: it does not hash to sha256"
                )
        self.files += len(hashes)
        self.result.records += len(hashes)
        if len(hashes) != files:
            words = f"{len(hashes)} documents, the event says {files} (seq {seq})"
            self.result.differ(f"publication {publication}: {words}")
        elif hash_of(hashes) != total:
            words = f"its documents do not hash to the event's sha256 (seq {seq})"
            self.result.differ(f"publication {publication}: {words}")

    def finish(self, tx: Connection) -> None:
        extra = tx.execute(select(func.count()).select_from(DOCUMENTS)).scalar_one() - self.files
        if extra > 0:
            self.result.differ(f"{extra} documents belong to no publication an event tells of")
