"""Do imports point one way, and is the clock read in one place?"""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = {
    "models": 0,
    "policy": 1,
    "loopwright": 1,
    "sources": 2,
    "notifications": 2,
    "insight": 2,
    "tasks": 3,
    "flows": 4,
    "console": 5,
}
POLICY_LIBRARIES = {"numpy", "scipy", "holidays"}
POLICY_ADAPTERS = {
    "cel": {"policy/cel.py"},
    "re2": {"policy/patterns.py"},
    "yaml": {"policy/documents.py", "policy/document_checks.py"},
    "jsonschema": {"policy/documents.py", "policy/document_checks.py"},
}
CLOCKS = {
    ("datetime", "now"): "loopwright/now.py",
    ("datetime", "utcnow"): None,
    ("datetime", "today"): None,
    ("date", "today"): None,
    ("time", "time"): None,
    ("time", "localtime"): None,
    ("time", "gmtime"): None,
    ("time", "time_ns"): "loopwright/ids.py",
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every imported name, also those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def first_party(name: str, target: str, imported: str) -> str | None:
    package = name.split("/")[0]
    if target == package or FLOORS[target] < FLOORS[package]:
        if package == "policy" and target == "models" and not imported.startswith("models.kinds"):
            return "policy knows the enums only"
        return None
    return f"{package} must not import {target}"


def third_party(name: str, target: str) -> str | None:
    if target == "prefect" and not name.startswith("flows/"):
        return "only flows/ imports prefect"
    if not name.startswith("policy/") or target in sys.stdlib_module_names:
        return None
    if target in POLICY_LIBRARIES or name in POLICY_ADAPTERS.get(target, ()):
        return None
    return f"policy must not import {target} here"


def clock_reads(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value
            yield (owner.id if isinstance(owner, ast.Name) else owner.attr), node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (("time", alias.name) for alias in node.names)


def violations(name: str, code: str) -> list[str]:
    """What a module at `name` (its path from the root) may not do, in words."""
    tree = ast.parse(code)
    found = []
    for imported in imports(tree):
        target = imported.split(".")[0]
        refusal = (
            first_party(name, target, imported) if target in FLOORS else third_party(name, target)
        )
        if refusal:
            found.append(f"{imported}: {refusal}")
    found += [
        f"{'.'.join(read)}: the clock is read in loopwright/now.py"
        for read in clock_reads(tree)
        if read in CLOCKS and CLOCKS[read] != name
    ]
    return found


MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in FLOORS
    for path in (ROOT / package).rglob("*.py")
)


def test_every_package_is_looked_at() -> None:
    assert {name.split("/")[0] for name in MODULES} >= FLOORS.keys()
    assert len(MODULES) > 80


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name: str) -> None:
    assert violations(name, (ROOT / name).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("models/x.py", "from policy.route import Router"),
        ("models/x.py", "def f():\n    import loopwright.db"),
        ("policy/x.py", "from loopwright.errors import LoopwrightError"),
        ("policy/x.py", "from models.loop import Loop"),
        ("policy/x.py", "import sqlalchemy"),
        ("policy/x.py", "import cel"),
        ("policy/x.py", "import re2"),
        ("policy/x.py", "import yaml"),
        ("policy/x.py", "import sklearn"),
        ("loopwright/x.py", "import policy.route"),
        ("sources/x.py", "import notifications.mail"),
        ("notifications/x.py", "import sources.parse"),
        ("notifications/x.py", "import tasks.change"),
        ("tasks/x.py", "import prefect"),
        ("tasks/x.py", "from flows.server import prefect_server"),
        ("flows/x.py", "from console.terminal import say"),
        ("console/x.py", "from prefect import flow"),
        ("tasks/x.py", "from datetime import datetime\nnow = datetime.now(None)"),
        ("tasks/x.py", "import datetime\nnow = datetime.datetime.utcnow()"),
        ("tasks/x.py", "import time\nnow = time.time()"),
        ("tasks/x.py", "from time import time"),
        ("policy/x.py", "from datetime import date\nday = date.today()"),
        ("tasks/x.py", "import time\nnow = time.time_ns()"),
    ],
)
def test_a_forbidden_arrow_is_seen(name: str, code: str) -> None:
    assert len(violations(name, code)) == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("policy/cel.py", "import cel"),
        ("policy/patterns.py", "import re2"),
        ("policy/documents.py", "import yaml\nimport jsonschema"),
        ("policy/x.py", "from models.kinds import Level\nimport numpy, holidays, re"),
        ("flows/x.py", "from prefect import flow\nfrom tasks import sweeps"),
        ("tasks/x.py", "import time\nstart = time.monotonic()"),
        ("loopwright/now.py", "from datetime import UTC, datetime\nx = datetime.now(UTC)"),
    ],
)
def test_an_allowed_arrow_is_not(name: str, code: str) -> None:
    assert violations(name, code) == []


TOP_STEPS = {
    *("change", "settle", "workspace", "find", "tally", "people", "look", "explain"),
    *("merge", "sweeps", "dispatch", "start"),
}
"""Steps that all subjects use, or that use all of them."""


def test_steps_lie_in_the_package_of_their_subject() -> None:
    top = {path.stem for path in (ROOT / "tasks").glob("*.py")}
    assert top == TOP_STEPS | {"__init__"}


@pytest.mark.parametrize("package", sorted(p.parent for p in ROOT.glob("tasks/*/__init__.py")))
def test_a_package_of_steps_says_what_it_answers(package: Path) -> None:
    assert ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8")))
    assert len(list(package.glob("*.py"))) > 2, "one module is no package"


def needed(name: str) -> set[str]:
    """First-party modules that the module at `name` takes something from, now or later."""
    known = {module.removesuffix(".py").replace("/", ".") for module in MODULES}
    found = set(imports(ast.parse((ROOT / name).read_text("utf-8"))))
    return {m for one in found for m in (one, one.rpartition(".")[0]) if m in known}


def test_no_circle_of_modules() -> None:
    """Not even through an import inside a function."""
    needs = {m.removesuffix(".py").replace("/", "."): needed(m) for m in MODULES}
    assert list(graphlib.TopologicalSorter(needs).static_order())
