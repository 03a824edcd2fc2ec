"""检查安装 / What is wrong with this setup and how to mend it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from console.terminal import AsJson, emit, say
from loopwright.errors import EnvironmentFault, LoopwrightError

if TYPE_CHECKING:
    from loopwright.db import Database
    from loopwright.settings import Settings
    from policy.organisation import Organisation

NAME = "doctor"


def command(as_json: AsJson = False) -> None:
    """检查安装 / Check settings, database, documents, Prefect and messages; exit 3 on a fault."""
    items = [examine(name, check) for name, check in CHECKS.items()]

    def human() -> None:
        for item in items:
            say(f"{'✓' if item['ok'] else '✗'} {item['check']}: {item['found']}")
            if item["fix"]:
                say(f"  → {item['fix']}")

    emit({"items": items}, as_json, human)
    sys.exit(0 if all(item["ok"] for item in items) else 3)


def examine(name: str, check: Callable[["Settings"], str]) -> dict[str, object]:
    from loopwright.settings import load_settings

    try:
        return {"check": name, "ok": True, "found": check(load_settings()), "fix": None}
    except LoopwrightError as error:
        return {"check": name, "ok": False, "found": error.what, "fix": error.fix}
    except Exception as error:  # a check must never hide the ones after it
        found = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return {"check": name, "ok": False, "found": found, "fix": "see docs/operate.md"}


@contextmanager
def database(settings: "Settings") -> "Iterator[Database]":
    from loopwright.db import Database

    db = Database(settings.database.url)
    try:
        yield db
    finally:
        db.close()


def check_settings(settings: "Settings") -> str:
    return f"language {settings.language}, messages by {settings.messages.transport}"


def check_database(settings: "Settings") -> str:
    from loopwright.db import is_durable
    from loopwright.migrate import newest, require_current

    with database(settings) as db:
        require_current(db)
        with db.begin() as tx:
            if not is_durable(tx):
                raise EnvironmentFault(
                    "a commit does not survive a power cut", "set synchronous_commit = on"
                )
        return f"{'SQLite' if db.is_sqlite else 'PostgreSQL'}, schema {newest()}"


def check_documents(settings: "Settings") -> str:
    from tasks.documents.publish import published

    with database(settings) as db:
        found = published(db)
    return f"publication {found.number}, {len(found.files)} files, {found.sha256[:12]}"


def check_calendar(settings: "Settings") -> str:
    from loopwright.now import utc_now
    from tasks.documents.publish import published

    year = utc_now().year
    with database(settings) as db:
        calendars = published(db).documents.calendars
    for calendar in calendars:
        if year not in calendar.published_years:
            raise EnvironmentFault(
                f"calendar {calendar.id} has no published days for {year}",
                f"add calendars/{calendar.id}-{year}.yaml when the list is out and publish it",
            )
    return f"days of {year} are published"


def check_identity(settings: "Settings") -> str:
    from tasks.workspace import identity_secret

    if len(identity_secret(settings)) < 32:
        raise EnvironmentFault("the identity secret is short", "use at least 32 random characters")
    return "the secret for customers' keys is set"


def check_sources(settings: "Settings") -> str:
    from tasks.intake.pull import source_states
    from tasks.workspace import Workspace

    with database(settings) as db:
        states = source_states(Workspace(settings, db))
    stopped = [str(s["name"]) for s in states if s["stopped_reason"]]
    if stopped:
        raise EnvironmentFault(
            f"stopped: {', '.join(stopped)}",
            "mend the source document, publish it,"
            " `loopwright quarantine replay --source NAME --as PERSON`",
        )
    return f"{len(states)} sources, none stopped"


def check_triage(settings: "Settings") -> str:
    from loopwright.now import utc_now
    from tasks.sweeps import stuck_batches, waiting
    from tasks.workspace import Workspace

    with database(settings) as db:
        ws = Workspace(settings, db)
        stuck, feedback = stuck_batches(ws), waiting(ws, utc_now())["feedback"]
    if stuck:
        raise EnvironmentFault(
            f"{stuck} batches of feedback were given up after every attempt died",
            "see «Leases 租约» in docs/operate.md",
        )
    return f"{feedback:,} feedback wait for triage, nothing is stuck"


def check_prefect(settings: "Settings") -> str:
    from importlib.metadata import version

    from flows.server import template_path

    path = template_path(settings)
    if not path.is_file():
        raise EnvironmentFault(
            "Prefect's template database is missing: the first start takes a minute",
            "run `make setup` or `loopwright init`",
        )
    return f"Prefect {version('prefect')}, FastAPI {version('fastapi')}, template built"


def check_messages(settings: "Settings") -> str:
    import socket

    from notifications.registry import WECOM

    if settings.messages.transport == "smtp":
        try:
            with socket.create_connection((settings.smtp.host, settings.smtp.port), timeout=5):
                pass
        except OSError as error:
            raise EnvironmentFault(
                f"the mail server does not answer ({error.strerror or error})",
                "check [smtp] host and port; `loopwright notify test --to ADDRESS` sends one",
            ) from None
        return "the mail server answers"
    if settings.messages.transport == WECOM:
        return "messages go by WeCom robots"
    settings.messages.folder.mkdir(parents=True, exist_ok=True)
    return f"messages are written to {settings.messages.folder}"


def check_robots(settings: "Settings") -> str:
    """Robots that take all messages must reach every unit; beside another way, each key must be
    some unit's."""
    from notifications.registry import WECOM
    from notifications.wecom_text import robot_key
    from tasks.documents.publish import published

    with database(settings) as db:
        organisation = published(db).documents.organisation
    keys = {robot_key(name) for name in settings.wecom.robots}
    if settings.messages.transport == WECOM:
        return robots_for_all(organisation, keys)
    auditors = {robot_key(settings.audit.wecom_robot or "")} & keys
    keys -= auditors
    if not keys or not settings.wecom.beside:
        return no_unit_robot(auditors)
    own = {u.code: robot_key(u.contact.wecom) for u in organisation.units if u.contact.wecom}
    return robots_beside(own, keys)


def no_unit_robot(auditors: set[str]) -> str:
    if auditors:
        return f"no unit's WeCom robot is used; {', '.join(auditors)} tells the auditors"
    return "no WeCom robot is used"


def robots_for_all(organisation: "Organisation", keys: set[str]) -> str:
    from notifications.wecom_text import robot_key
    from tasks.messages.address import robot_of

    robots = {unit.code: robot_of(organisation, unit.code) for unit in organisation.units}
    without = [unit for unit, name in robots.items() if robot_key(name or "") not in keys]
    if without:
        raise EnvironmentFault(
            f"no WeCom robot with a key for: {', '.join(without)}",
            "set contact.wecom in organisation.yaml and LOOPWRIGHT_WECOM__ROBOTS__NAME",
        )
    return f"{len(keys)} WeCom robots, every unit leads to one"


def robots_beside(own: dict[str, str], keys: set[str]) -> str:
    """`own`: unit -> its robot."""
    if unused := sorted(keys - set(own.values())):
        raise EnvironmentFault(
            f"WeCom keys of no unit's robot: {', '.join(unused)}",
            "name each as a unit's contact.wecom in organisation.yaml, or take the key away",
        )
    beside = [unit for unit, name in own.items() if name in keys]
    without = [unit for unit, name in own.items() if name not in keys]
    note = f"; without a key: {', '.join(without)}" if without else ""
    return f"WeCom robots beside for {', '.join(beside)}{note}"


def check_templates(settings: "Settings") -> str:
    """Customers are sent nothing that nobody has approved."""
    from tasks.approval.documents import unapproved_templates
    from tasks.workspace import Workspace

    with database(settings) as db:
        ws = Workspace(settings, db)
        waiting, count = unapproved_templates(ws), len(ws.published.documents.templates)
    if waiting:
        raise EnvironmentFault(
            f"nobody has approved what customers would read: {', '.join(waiting)}",
            "`loopwright template approve NAME --as PERSON`, then"
            " `loopwright notify replay all --as PERSON`",
        )
    return f"{count} templates, none waits for approval"


def check_history(settings: "Settings") -> str:
    """Sealing goes on, and what was sealed leaves the house."""
    from tasks.audit.publish_checkpoints import not_taken, ways
    from tasks.audit.seal_history import (
        KEY_FIX,
        RENEW_FIX,
        key_problem,
        refusal,
        signing_key,
        unsealed,
    )
    from tasks.workspace import Workspace

    key = signing_key(settings)
    with database(settings) as db:
        ws = Workspace(settings, db)
        refused, late, waits, out = refusal(ws), not_taken(ws), unsealed(ws), len(ways(ws))
    if refused:
        fix = "keep the database as it is; see «Checkpoints» in docs/operate.md"
        raise EnvironmentFault(f"sealing is refused: {refused}", fix)
    if problem := key and key_problem(ws, key.public):
        raise EnvironmentFault(f"nothing is signed: {problem}", RENEW_FIX)
    if late:
        fix = "mend the way out; it is tried again at every run of seal_history"
        raise EnvironmentFault(f"no checkpoint gets to {', '.join(late)}", fix)
    signer = f"signed here as {key.name}" if key else f"not signed here: no key; {KEY_FIX}"
    return f"{signer}, {out} ways out, {waits:,} events without a checkpoint"


CHECKS: dict[str, Callable[["Settings"], str]] = {
    "settings": check_settings,
    "database": check_database,
    "documents": check_documents,
    "calendar": check_calendar,
    "identity": check_identity,
    "sources": check_sources,
    "triage": check_triage,
    "prefect": check_prefect,
    "messages": check_messages,
    "robots": check_robots,
    "templates": check_templates,
    "history": check_history,
}
