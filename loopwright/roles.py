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
CHECKPOINT = "audit_checkpoint"
VERSION = "alembic_version"
TITLES = {
    "owner": "属主",
    "application": "应用",
    "eraser": "删除",
    "signer": "签署",
    "auditor": "审计",
}
"""What a role is called, by its field in `Roles`."""


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


@dataclass(frozen=True)
class Grant:
    """A role, by its field in `Roles`, may do these acts, as SQL names them, to these tables."""

    role: str
    acts: str
    tables: tuple[str, ...]


def grants(own_signer: bool) -> Iterator[Grant]:
    """What each role may; with a signer of its own the application adds no checkpoints."""
    business = tuple(name for name in everything() if name not in (*HISTORY, VERSION))
    appended = tuple(name for name in APPENDED if not (own_signer and name == CHECKPOINT))
    yield Grant("application", "SELECT", everything())
    yield Grant("application", "INSERT, UPDATE", business)
    yield Grant("application", "DELETE", EMPTIED)
    yield Grant("application", "INSERT", appended)
    yield Grant("application", "UPDATE", ("audit_head",))
    yield Grant("application", "UPDATE (published)", (CHECKPOINT,))
    yield Grant("eraser", "DELETE", ("event_body", *business))
    yield Grant("signer", "SELECT", (*SIGNED, VERSION))
    yield Grant("signer", "INSERT", (CHECKPOINT,))
    yield Grant("signer", "UPDATE (published)", (CHECKPOINT,))
    yield Grant("auditor", "SELECT", everything())


def everything() -> tuple[str, ...]:
    """Every table there is."""
    return (*sorted(metadata().tables), VERSION)


def who_may(act: str, table: str) -> tuple[str, ...]:
    """The roles, by field of `Roles`, that may do this to the table, in either layout; the eraser
    may besides what the application may. `act`: SELECT, INSERT, UPDATE or DELETE."""
    able = [g.role for g in grants(own_signer=True) if act in g.acts and table in g.tables]
    return tuple(dict.fromkeys(able)) or ("owner",)


def layout(roles: Roles, *, own_signer: bool = False) -> str:
    """The SQL, to be run by a superuser in the organisation's database after each upgrade."""
    return "".join(f"{statement};\n" for statement in statements(roles, own_signer))


def statements(roles: Roles, own_signer: bool) -> Iterator[str]:
    working = (roles.application, roles.eraser, roles.signer, roles.auditor)
    everybody = ", ".join(working)
    for name in (roles.owner, *working):
        yield created(name)
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    yield f"GRANT USAGE, CREATE ON SCHEMA public TO {roles.owner}"
    yield f"GRANT USAGE ON SCHEMA public TO {everybody}"
    for name in everything():
        yield f"ALTER TABLE {quoted(name)} OWNER TO {roles.owner}"
    yield f"ALTER FUNCTION guard_history() OWNER TO {roles.owner}"
    yield f"REVOKE ALL ON {listed(*everything())} FROM PUBLIC, {everybody}"
    yield f"GRANT {roles.application} TO {roles.eraser}"
    for grant in grants(own_signer):
        yield f"GRANT {grant.acts} ON {listed(*grant.tables)} TO {getattr(roles, grant.role)}"


def created(role: str) -> str:
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')"
        f" THEN CREATE ROLE {role} LOGIN; END IF; END $$"
    )


def listed(*tables: str) -> str:
    return ", ".join(map(quoted, tables))


def quoted(table: str) -> str:
    return f'"{table}"'
