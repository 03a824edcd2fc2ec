"""What a driver's error means to whoever runs the program: a fault in words and how to mend it.

A value that was on its way to the database may be a customer's words, so none stands in an error:
SQLAlchemy hides the parameters, and what PostgreSQL adds of its own is cut off here.
"""

import re

from sqlalchemy import URL, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from loopwright.errors import EnvironmentFault, RightMissing

RIGHT_MISSING = "42501"
READ_ONLY = "25006"
ILL_FORMED = "22"
"""The class of PostgreSQL's errors that quote a value in their first line."""
LOST = ("08", "28", "3D", "53", "57P", "58")
"""Classes: connection, password, no such database, no room, server going down, its disk."""
IN_WORDS = (
    "unable to open database",
    "not a database",
    "connection",
    "password",
    "resolve host",
    "does not exist",
    "database is locked",
    "disk",
)
"""How SQLite, and PostgreSQL's client before there is a connection, tell the same."""
ACTS = {
    "SELECT": ("读取", "read"),
    "INSERT": ("写入", "add rows to"),
    "UPDATE": ("更改", "change"),
    "DELETE": ("删除其中的行", "delete from"),
}
ROLES = "docs/operate.md «Guards and roles 防护与角色»"


def fault_of(error: Exception, url: URL) -> EnvironmentFault | None:
    """The fault of the setup that a database error tells of; None for any other error."""
    if not isinstance(error, DBAPIError):
        return unusable(error, url)
    if sqlstate(error) == RIGHT_MISSING:
        return right_missing(error, url)
    if sqlstate(error) == READ_ONLY or "readonly" in said(error):
        return read_only(error, url)
    return unusable(error, url) if is_connection_fault(error) else None


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code; empty for SQLite and where no server was reached."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def said(error: Exception) -> str:
    """The driver's words: their first line."""
    return (str(getattr(error, "orig", error)).strip().splitlines() or [type(error).__name__])[0]


def is_connection_fault(error: DBAPIError) -> bool:
    # sqlite3 reports a file of another kind as a plain DatabaseError; its other kinds are ours.
    if type(error) not in (DatabaseError, OperationalError):
        return False
    state = sqlstate(error)
    if error.connection_invalidated or state.startswith(LOST):
        return True
    return not state and any(phrase in said(error) for phrase in IN_WORDS)


def unusable(error: Exception, url: URL) -> EnvironmentFault:
    address = url.render_as_string(hide_password=True)
    return EnvironmentFault(
        f"数据库不可用 / the database {address} cannot be used: {said(error)}",
        "另一程序占用了文件，请结束它 / another program holds the file: end it and try again"
        if "locked" in said(error)
        else "检查地址和服务器 / check the address in LOOPWRIGHT_DATABASE__URL and that the server"
        " runs; `loopwright doctor` says more",
    )


def read_only(error: Exception, url: URL) -> EnvironmentFault:
    address = url.render_as_string(hide_password=True)
    return EnvironmentFault(
        f"数据库只读 / the database {address} takes no writes: {said(error)}",
        "PostgreSQL：改用主库，而非备库 / use the primary, not a standby; SQLite：运行用户须能写入"
        "数据库文件及其所在目录 / this user must be able to write to the file and its folder",
    )


def right_missing(error: DBAPIError, url: URL) -> RightMissing:
    """Which user may not do what to which table, and which role may."""
    from loopwright.roles import TITLES, Roles, everything, who_may

    user, words = f" {url.username}" if url.username else "", said(error)
    # Servers say it in their own language; a table's name is the same in all.
    table = next((w for w in re.findall(r"\w+", words) if w in everything()), None)
    act = act_of(error.statement or "")
    if table is None or act is None:
        what = f"数据库用户{user} 无此权限 / this database user{user} may not do this: {words}"
        may: tuple[str, ...] = ("owner",)
    else:
        zh, en = ACTS[act]
        what = f"数据库用户{user} 无权{zh} / this database user{user} may not {en}: {table}"
        may = who_may(act, table)
    names = "、".join(f"{TITLES[role]} {getattr(Roles(), role)}" for role in may)
    return RightMissing(what, f"由有权的角色执行 / run it as a role that may: {names}; see {ROLES}")


def act_of(statement: str) -> str | None:
    """What a statement needs the right to; None for one that is about more than rows."""
    word = statement.split(maxsplit=1)[0].upper() if statement.strip() else ""
    if word in ("SELECT", "WITH"):
        return "UPDATE" if "FOR UPDATE" in statement else "SELECT"
    return "INSERT" if word == "COPY" else word if word in ACTS else None


def keep_values_out(engine: Engine) -> None:
    """Cut what PostgreSQL adds to an error's first line: whole rows and the values of keys."""

    @event.listens_for(engine, "handle_error")
    def cut(context: ExceptionContext) -> None:
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None:
                shorten(error)


def shorten(error: BaseException) -> None:
    """Leave an error its first line, and one about an ill-formed value nothing but its name."""
    ill_formed = sqlstate(error).startswith(ILL_FORMED)
    error.args = (type(error).__name__ if ill_formed else str(error.args[0]).partition("\n")[0],)
