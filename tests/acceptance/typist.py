"""Runs the program for tests without importing it anew each time, which takes longer than most
commands: a process imports once, and every command is a fork of it with streams, folder and
environment of its own.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IMPORTED = (
    "console.main",
    "tasks.look",
    "tasks.sweeps",
    "tasks.documents.publish",
    "alembic.command",
)


def main() -> None:
    """Serve requests from standard input, a JSON document a line; answer each with a line."""
    from importlib import import_module

    for name in IMPORTED:
        import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(typed(**request))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def typed(arguments: Sequence[str], folder: str, env: Mapping[str, str], out: str, err: str) -> int:
    """What the console script does, as this process; its exit code."""
    from console.main import main as program

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for stream, path in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), stream)
    sys.argv = [str(Path(sys.executable).with_name("loopwright")), *arguments]
    try:
        program()
        code: Any = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 1


if __name__ == "__main__":
    main()
