"""Documents from folders into the database: lint, publish, and load the set that runs.

Documents in files are drafts. Publishing stores a whole checked set byte for byte; only the
newest published set runs, and every loop keeps the number of the set it was judged by.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, func, insert, select

from loopwright.db import Database
from loopwright.errors import DocumentError, EnvironmentFault, InputError
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, seal
from loopwright.ids import uuid7
from models.base import table
from models.document import Document, Publication
from models.kinds import EventKind
from policy.documents import DocumentSet, Mistake, is_document, load_set

DOCUMENTS = table(Document)
PUBLICATIONS = table(Publication)


@dataclass(frozen=True)
class Published:
    """A published set: its number (what loops call their policy), content hash and documents."""

    number: int
    sha256: str
    documents: DocumentSet
    files: Mapping[str, bytes]


def read_folders(folders: Iterable[Path]) -> dict[str, bytes]:
    """The files of one or more document folders; a later folder replaces files of the same name,
    and takes one away where its own is empty.

    Raises InputError for a folder that is missing or holds no document.
    """
    files: dict[str, bytes] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"document folder {folder} does not exist",
                "name a folder that holds organisation.yaml; `loopwright init` writes one",
            )
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            if not is_document(name):
                continue
            content = path.read_bytes()
            if content.strip() or name not in files:
                files[name] = content
            else:
                del files[name]
    if not files:
        raise InputError("no documents found", "name a folder that holds organisation.yaml")
    return files | recipe_data(files, folders)


def recipe_data(files: Mapping[str, bytes], folders: Iterable[Path]) -> dict[str, bytes]:
    """The training examples a model recipe names; they are part of the published set."""
    documents, _ = load_set(files)
    if documents is None or documents.model is None:
        return {}
    name = documents.model.data
    found = [f / name for f in folders if (f / name).is_file()]
    if not found:
        raise InputError(
            f"model.yaml names {name}, which is in none of the folders",
            "add the file or the recipe",
        )
    return {name: found[-1].read_bytes()}


def lint(files: Mapping[str, bytes]) -> list[Mistake]:
    """Every mistake in a set, in file order."""
    return load_set(documents_only(files))[1]


def documents_only(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if is_document(name)}


def publish(db: Database, files: Mapping[str, bytes], by: Actor, now: datetime) -> Published:
    """Store a set as the one that runs from now on. Raises DocumentError for a broken one."""
    documents, mistakes = load_set(documents_only(files))
    if documents is None:
        raise DocumentError(
            f"{len(mistakes)} mistakes: nothing was published",
            [f"{m.file}:{m.line}: {m.what} → {m.fix}" for m in mistakes],
            "mend them, check with `loopwright org lint`, publish again",
        )
    total = set_hash(files)
    with db.begin() as tx:
        number = (tx.execute(select(func.max(PUBLICATIONS.c.number))).scalar() or 0) + 1
        store(tx, number, total, files, by, now)
    return Published(number, total, documents, files)


def store(
    tx: Connection, number: int, total: str, files: Mapping[str, bytes], by: Actor, now: datetime
) -> None:
    tx.execute(
        insert(PUBLICATIONS).values(
            number=number, sha256=total, published_at=now, published_by=by.id
        )
    )
    tx.execute(
        insert(DOCUMENTS),
        [
            {"publication": number, "name": name, "sha256": digest(content), "content": content}
            for name, content in sorted(files.items())
        ],
    )
    hashes = {name: digest(content) for name, content in sorted(files.items())}
    event = Event(
        uuid7(),
        EventKind.DOCUMENTS_PUBLISHED,
        now,
        by,
        {"publication": number, "sha256": total, "files": len(files)},
        body={"files": hashes},
    )
    append(tx, [seal(event)])


def published(db: Database, number: int | None = None) -> Published:
    """The set that runs, or the one with `number`. Raises EnvironmentFault when there is none."""
    with db.read() as tx:
        if number is None:
            number = tx.execute(select(func.max(PUBLICATIONS.c.number))).scalar()
        query = select(DOCUMENTS.c.name, DOCUMENTS.c.content).where(
            DOCUMENTS.c.publication == number
        )
        files = {row.name: row.content for row in tx.execute(query)}
    if number is None or not files:
        raise EnvironmentFault(
            "no documents are published yet"
            if number is None
            else f"there is no publication {number}",
            "run `loopwright org publish FOLDER`",
        )
    documents, mistakes = load_set(documents_only(files))
    if documents is None:
        raise EnvironmentFault(
            f"publication {number} does not load in this program version: {mistakes[0].what}",
            "publish the documents again, mended for this version",
        )
    return Published(number, set_hash(files), documents, files)


def set_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and hashes of a set's files."""
    lines: Sequence[str] = [
        f"{digest(content)}  {name}\n" for name, content in sorted(files.items())
    ]
    return sha256("".join(lines).encode()).hexdigest()


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()
