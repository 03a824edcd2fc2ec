"""CPU of a running `up`, read from /proc: its four residents by name, scheduled runs apart."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

from tests.flows.running import CHILDREN

TICKS = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.5
TOP = "up itself"

Window = tuple[float, float]


@dataclass(frozen=True)
class Process:
    """`cpu`: seconds of its own; `ended`: of the children it has waited for."""

    parent: int
    cpu: float
    ended: float


@dataclass(frozen=True)
class Look:
    """One look: `residents` name -> (process id, CPU seconds); `runs` alive; `spent` on runs."""

    at: float
    residents: dict[str, tuple[int, float]]
    runs: int
    spent: float


@dataclass
class Usage:
    """Looks at the tree below `top` twice a second; `top` may change."""

    top: int
    looks: list[Look] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    stop: Event = field(default_factory=Event)

    def __enter__(self) -> "Usage":
        self.thread = Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.stop.wait(LOOK_SECONDS):
            self.looks.append(self.look())

    def look(self) -> Look:
        table = dict(processes())
        residents, runs, spent = {}, 0, 0.0
        if self.top in table:
            residents[TOP] = self.top, table[self.top].cpu
        for pid in [p for p, process in table.items() if process.parent == self.top]:
            name = self.names.setdefault(pid, name_of(pid))
            residents[name] = pid, table[pid].cpu
            if name == "schedules":
                below = list(descendants(table, pid))
                runs = len(below)
                spent = table[pid].ended + sum(table[p].cpu + table[p].ended for p in below)
        return Look(time.time(), residents, runs, spent)

    def is_resting(self) -> bool:
        """No scheduled run was alive at the last look."""
        return bool(self.looks) and not self.looks[-1].runs

    def idle(self, busy: Sequence[Window]) -> tuple[float, dict[str, float]]:
        """Seconds in which no run lived and nothing of `busy` lay, and each resident's share of a
        core in them."""
        seconds, cpu = 0.0, dict.fromkeys((TOP, *CHILDREN), 0.0)
        for before, after in pairwise(self.looks):
            same = {n: p for n, (p, _) in before.residents.items()} == {
                n: p for n, (p, _) in after.residents.items()
            }
            inside = any(begin < after.at and before.at < end for begin, end in busy)
            if before.runs or after.runs or inside or not same or len(after.residents) < len(cpu):
                continue
            seconds += after.at - before.at
            for name, (_, total) in after.residents.items():
                cpu[name] += total - before.residents[name][1]
        return seconds, {name: spent / max(seconds, 1e-9) for name, spent in cpu.items()}

    def spent_on_runs(self) -> float:
        """CPU seconds of all scheduled runs' processes."""
        last: dict[int, float] = {}
        for look in self.looks:
            if "schedules" in look.residents:
                pid = look.residents["schedules"][0]
                last[pid] = max(last.get(pid, 0.0), look.spent)
        return sum(last.values())


def processes() -> Iterator[tuple[int, Process]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
            except OSError:
                continue
            own, ended = (sum(map(int, words[n : n + 2])) / TICKS for n in (11, 13))
            yield int(folder.name), Process(int(words[1]), own, ended)


def name_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return "unknown"
    return next((name for name in CHILDREN if f"flows.{name}" in words), "unknown")


def descendants(table: dict[int, Process], pid: int) -> Iterator[int]:
    for child in [p for p, process in table.items() if process.parent == pid]:
        yield child
        yield from descendants(table, child)
