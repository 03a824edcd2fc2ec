"""Who may do what in a PostgreSQL database: the role layout, as SQL that can be run again.

The program works as `application`, which owns nothing: it appends to the history and can neither
alter it nor lift the triggers. Erasing takes a role of its own, since it deletes; migrations, the
owner. A guard rail: whoever is superuser stands above it, and only checkpoints outside see him.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from models.tables import metadata

APPENDED = ("history_event", "event_body", "audit_checkpoint", "publication", "document")
"""Rows are added, never altered."""
HISTORY = (*APPENDED, "audit_head")
EMPTIED = ("loop_issue", "loop_link", "measure")
"""Rows of these can be undone or replaced in everyday work."""
SIGNED = ("history_event", "audit_head", "audit_checkpoint", "publication", "document")
VERSION = "alembic_version"


@dataclass(frozen=True)
class Roles:
    """The roles' names: plain identifiers, in lower case."""

    owner: str = "loopwright_owner"
    application: str = "loopwright_app"
    eraser: str = "loopwright_eraser"
    signer: str = "loopwright_signer"
    auditor: str = "loopwright_auditor"

    @staticmethod
    def named(prefix: str) -> "Roles":
        """For several databases on one server."""
        return Roles(
            *(f"{prefix}_{end}" for end in ("owner", "app", "eraser", "signer", "auditor"))
        )


def layout(roles: Roles) -> str:
    """The SQL, to be run by a superuser in the organisation's database after each upgrade."""
    return "".join(f"{statement};\n" for statement in statements(roles))


def statements(roles: Roles) -> Iterator[str]:
    everybody = (roles.application, roles.eraser, roles.signer, roles.auditor)
    for name in (roles.owner, *everybody):
        yield created(name)
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    yield f"GRANT USAGE, CREATE ON SCHEMA public TO {roles.owner}"
    yield f"GRANT USAGE ON SCHEMA public TO {', '.join(everybody)}"
    tables = sorted(metadata().tables)
    for name in (*tables, VERSION):
        yield f"ALTER TABLE {quoted(name)} OWNER TO {roles.owner}"
    yield f"ALTER FUNCTION guard_history() OWNER TO {roles.owner}"
    everything = listed(*tables, VERSION)
    yield f"REVOKE ALL ON {everything} FROM PUBLIC, {', '.join(everybody)}"
    yield f"GRANT SELECT ON {everything} TO {roles.application}, {roles.auditor}"
    yield from application(roles.application, tables)
    yield from eraser(roles, tables)
    yield from signer(roles.signer)


def application(role: str, tables: list[str]) -> Iterator[str]:
    business = listed(*(name for name in tables if name not in HISTORY))
    yield f"GRANT INSERT, UPDATE ON {business} TO {role}"
    yield f"GRANT DELETE ON {listed(*EMPTIED)} TO {role}"
    yield f"GRANT INSERT ON {listed(*APPENDED)} TO {role}"
    yield f"GRANT UPDATE ON audit_head TO {role}"
    yield f"GRANT UPDATE (published) ON audit_checkpoint TO {role}"


def eraser(roles: Roles, tables: list[str]) -> Iterator[str]:
    """What the application may, and deleting bodies and identity."""
    personal = (name for name in tables if name not in HISTORY)
    yield f"GRANT {roles.application} TO {roles.eraser}"
    yield f"GRANT DELETE ON {listed('event_body', *personal)} TO {roles.eraser}"


def signer(role: str) -> Iterator[str]:
    """Where checkpoints are signed by a process of their own."""
    yield f"GRANT SELECT ON {listed(*SIGNED, VERSION)} TO {role}"
    yield f"GRANT INSERT ON audit_checkpoint TO {role}"
    yield f"GRANT UPDATE (published) ON audit_checkpoint TO {role}"


def created(role: str) -> str:
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')"
        f" THEN CREATE ROLE {role} LOGIN; END IF; END $$"
    )


def listed(*tables: str) -> str:
    return ", ".join(map(quoted, tables))


def quoted(table: str) -> str:
    return f'"{table}"'
