"""Documents from folders into the database: lint, publish, and load the set that runs.

Documents in files are drafts. Publishing stores a whole checked set byte for byte; only the
newest published set runs, and every loop keeps the number of the set it was judged by.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, func, insert, select

from loopwright.db import Database
from loopwright.errors import DocumentError, EnvironmentFault, FindingError, InputError
from loopwright.history.append import EVENTS, append
from loopwright.history.envelope import Actor, Event, Scalar, seal
from loopwright.ids import uuid7
from models.approval import Approval
from models.base import table
from models.document import Document, Publication
from models.kinds import ApprovalKind, ApprovalState, EventKind
from notifications.lint import lint_template
from policy.approval import rules_of
from policy.documents import DocumentSet, Mistake, is_document, load_set

APPROVALS = table(Approval)
DOCUMENTS = table(Document)
PUBLICATIONS = table(Publication)

SET = "set.yaml"
TEMPLATE_FIX = "docs/reference/messages.md lists what a template may hold"


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

    A folder may name the one it is laid over in `set.yaml` (`over: ../bank`), which is then read
    first. Raises InputError for a folder that is missing or holds no document.
    """
    layers = [layer for folder in folders for layer in layers_of(folder)]
    files: dict[str, bytes] = {}
    for layer in layers:
        for name, content in layer_files(layer).items():
            if content.strip() or name not in files:
                files[name] = content
            else:
                del files[name]
    if not files:
        raise InputError("no documents found", "name a folder that holds organisation.yaml")
    return files | recipe_data(files, layers)


def layers_of(folder: Path) -> list[Path]:
    """The folder and those it is laid over, lowest first."""
    layers: list[Path] = []
    while folder.resolve() not in [layer.resolve() for layer in layers]:
        if not folder.is_dir():
            raise InputError(
                f"document folder {folder} does not exist",
                "name a folder that holds organisation.yaml; `loopwright init` writes one",
            )
        layers.insert(0, folder)
        over = lower_folder(folder / SET)
        if over is None:
            return layers
        folder = over
    raise InputError(f"{folder / SET} leads back to itself", "correct `over:`")


def lower_folder(path: Path) -> Path | None:
    if not path.is_file():
        return None
    found = re.fullmatch(r"(?:\s*#.*\n)*over:\s*(\S+)\s*", path.read_text("utf-8"))
    if found is None:
        raise InputError(f"{path} says nothing", "write one line such as `over: ../bank`")
    return path.parent / found[1]


def layer_files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: p.read_bytes() for name, p in named.items() if is_document(name) and name != SET}


def recipe_data(files: Mapping[str, bytes], layers: Iterable[Path]) -> dict[str, bytes]:
    """The training examples a model recipe names; they are part of the published set."""
    documents, _ = loaded(files)
    if documents is None or documents.model is None:
        return {}
    name = documents.model.data
    found = [layer / name for layer in layers if (layer / name).is_file()]
    if not found:
        raise InputError(
            f"model.yaml names {name}, which is in none of the folders",
            "add the file or the recipe",
        )
    return {name: found[-1].read_bytes()}


def lint(files: Mapping[str, bytes]) -> list[Mistake]:
    """Every mistake in a set, in file order."""
    return check(files)[1]


def check(files: Mapping[str, bytes]) -> tuple[DocumentSet | None, list[Mistake]]:
    """The set, or None with every mistake: of the documents, and of what templates may hold."""
    documents, found = loaded(files)
    if documents is None:
        return None, list(found)
    mistakes = [
        mistake
        for template in documents.templates
        for problem in lint_template(template)
        for mistake in [template_mistake(files, template.id, problem)]
    ]
    return (None if mistakes else documents), mistakes


def template_mistake(files: Mapping[str, bytes], template: str, problem: str) -> Mistake:
    """Where a template's problem stands: the line of its id."""
    wanted = re.compile(rf"\bid:\s*[\"']?{re.escape(template)}\b")
    for name, content in sorted(documents_only(files).items()):
        lines = content.decode("utf-8", "replace").splitlines()
        at = [n for n, line in enumerate(lines, 1) if wanted.search(line)]
        if at and any(line.startswith("templates:") for line in lines):
            return Mistake(name, at[0], f"template {template}: {problem}", TEMPLATE_FIX)
    return Mistake("templates.yaml", 1, f"template {template}: {problem}", TEMPLATE_FIX)


def loaded(files: Mapping[str, bytes]) -> tuple[DocumentSet | None, Sequence[Mistake]]:
    """The documents among a set's files as values, or None and every mistake."""
    return _load_once(tuple(sorted(documents_only(files).items())))


@lru_cache(maxsize=8)
def _load_once(
    files: tuple[tuple[str, bytes], ...],
) -> tuple[DocumentSet | None, Sequence[Mistake]]:
    """Documents are values: a process that asks for the same ones again gets the same ones."""
    documents, mistakes = load_set(dict(files))
    return documents, tuple(mistakes)


def documents_only(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if is_document(name)}


def publish(db: Database, files: Mapping[str, bytes], by: Actor, now: datetime) -> Published:
    """Store a set as the one that runs from now on.

    Raises DocumentError for a broken one, FindingError where the documents that run want another
    person to approve it first.
    """
    documents, total = checked(files), set_hash(files)
    with db.begin() as tx:
        number = (tx.execute(select(func.max(PUBLICATIONS.c.number))).scalar() or 0) + 1
        running = documents_of(tx, number - 1)
        approval = granted_publication(tx, total)
        if demands_approval(running) and approval is None:
            raise FindingError(
                f"the set {total[:12]} has not been approved",
                "`loopwright org publish FOLDER --request --as PERSON` asks for it",
            )
        staff = changes_of_staff(staff_of(documents), staff_of(running))
        store(tx, number, total, files, by, now, staff, approval)
    return Published(number, total, documents, files)


def checked(files: Mapping[str, bytes]) -> DocumentSet:
    """The set's documents. Raises DocumentError with every mistake."""
    documents, mistakes = check(files)
    if documents is None:
        raise DocumentError(
            f"{len(mistakes)} mistakes: nothing was published",
            [f"{m.file}:{m.line}: {m.what} → {m.fix}" for m in mistakes],
            "mend them, check with `loopwright org lint`, publish again",
        )
    return documents


def demands_approval(running: DocumentSet | None) -> bool:
    """Whether the next set must be approved: as the one that runs says, so that no draft frees
    itself of it. The first one need not, nor those of an example."""
    if running is None or running.organisation.example:
        return False
    return bool(rules_of(running.rulebook.approvals, ApprovalKind.PUBLICATION))


def is_unapproved(db: Database, files: Mapping[str, bytes]) -> bool:
    """Whether another person must approve this set before it can be published."""
    with db.read() as tx:
        number = tx.execute(select(func.max(PUBLICATIONS.c.number))).scalar() or 0
        wanted = demands_approval(documents_of(tx, number))
        return wanted and granted_publication(tx, set_hash(files)) is None


def granted_publication(tx: Connection, total: str) -> str | None:
    """The approval of a set of this hash; None when it has none."""
    mine = APPROVALS.c.loop_id.is_(None) & (APPROVALS.c.kind == ApprovalKind.PUBLICATION)
    query = select(APPROVALS.c.id, APPROVALS.c.terms)
    granted = query.where(mine, APPROVALS.c.state == ApprovalState.GRANTED)
    found = (row.id for row in tx.execute(granted) if row.terms["sha256"] == total)
    return next(found, None)


Staff = Mapping[str, tuple[str, tuple[str, ...]]]
"""Person -> unit and roles."""


def documents_of(tx: Connection, number: int) -> DocumentSet | None:
    """A publication's documents; None when there is none that this program version can read."""
    return loaded(stored_files(tx, number))[0]


def staff_of(documents: DocumentSet | None) -> Staff:
    people = documents.organisation.people if documents else ()
    return {p.id: (p.unit, tuple(sorted(p.roles))) for p in people}


def changes_of_staff(new: Staff, old: Staff) -> dict[str, dict[str, list[str]]]:
    """Who came, went or changed unit or roles: ids with the unit and the roles they have now."""
    came, went = new.keys() - old.keys(), old.keys() - new.keys()
    changed = {person for person in new.keys() & old.keys() if new[person] != old[person]}
    said = {person: [unit, *roles] for person, (unit, roles) in {**old, **new}.items()}
    groups = {"came": came, "went": went, "changed": changed}
    return {name: {p: said[p] for p in sorted(group)} for name, group in groups.items()}


def store(
    tx: Connection,
    number: int,
    total: str,
    files: Mapping[str, bytes],
    by: Actor,
    now: datetime,
    staff: Mapping[str, Mapping[str, list[str]]],
    approval: str | None,
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
    data: dict[str, Scalar] = {"publication": number, "sha256": total, "files": len(files)}
    data |= {f"people_{name}": len(people) for name, people in staff.items()}
    data |= {"approval": approval} if approval else {}
    body = {"files": hashes, "people": staff}
    event = Event(uuid7(), EventKind.DOCUMENTS_PUBLISHED, now, by, data, body=body)
    append(tx, [seal(event)])


def published(db: Database, number: int | None = None) -> Published:
    """The set that runs, or the one with `number`.

    Raises EnvironmentFault when there is none, FindingError for one that no event published as it
    is: nobody is judged by documents that somebody slipped into the database.
    """
    with db.read() as tx:
        if number is None:
            number = tx.execute(select(func.max(PUBLICATIONS.c.number))).scalar()
        files = stored_files(tx, number)
        recorded = recorded_hash(tx, number)
    if number is None or not files:
        raise EnvironmentFault(
            "no documents are published yet"
            if number is None
            else f"there is no publication {number}",
            "run `loopwright org publish FOLDER`",
        )
    if recorded != set_hash(files):
        raise FindingError(
            f"第 {number} 次发布与发布时不符 / publication {number} is not what was published",
            "keep the database as it is; `loopwright audit verify` and `loopwright audit replay`",
        )
    documents, mistakes = loaded(files)
    if documents is None:
        raise EnvironmentFault(
            f"publication {number} does not load in this program version: {mistakes[0].what}",
            "publish the documents again, mended for this version",
        )
    return Published(number, set_hash(files), documents, files)


def recorded_hash(tx: Connection, number: int | None) -> str | None:
    """The hash in the event of the publication, the first where a forger added another."""
    query = select(EVENTS.c.data).where(EVENTS.c.kind == EventKind.DOCUMENTS_PUBLISHED)
    for text in tx.execute(query.order_by(EVENTS.c.seq)).scalars():
        said = json.loads(text)
        if said.get("publication") == number:
            return str(said.get("sha256"))
    return None


def stored_files(tx: Connection, number: int | None) -> dict[str, bytes]:
    query = select(DOCUMENTS.c.name, DOCUMENTS.c.content).where(DOCUMENTS.c.publication == number)
    return {row.name: row.content for row in tx.execute(query)}


def set_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and hashes of a set's files."""
    return hash_of({name: digest(content) for name, content in files.items()})


def hash_of(digests: Mapping[str, str]) -> str:
    """The same, of files whose hashes are known."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items())]
    return sha256("".join(lines).encode()).hexdigest()


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()
