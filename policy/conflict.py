"""May this person handle that complaint, or is there a conflict of interest (回避)?

A person may not who was declared barred, who is named in the complaint by name or id, or whose
office is: the head of a unit that is named together with its head (滨江支行行长, head of Cards).
A unit named alone bars nobody: most complaints name one, and its own people put them right.
"""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from policy.organisation import Organisation, Person, Text, Unit

SHORTEST_NAME = 2
BARRED: Text = {"zh": "已登记须回避", "en": "was declared barred"}
NAMED: Text = {"zh": "投诉中提到其本人", "en": "is named in the complaint"}
OFFICE: Text = {
    "zh": "投诉中提到其所任负责人",
    "en": "heads the unit whose head the complaint names",
}
HEADS_ZH = "的?(?:负责人|领导|行长|主任|经理|总经理|主管|部长|总裁)"
HEADS_EN = "(?:head|manager|director|president)"


def conflict(
    person: Person, organisation: Organisation, words: Iterable[str], barred: Collection[str]
) -> Text | None:
    """Why the person may not handle a complaint in these words; None: nothing speaks against it."""
    if person.id in barred:
        return BARRED
    said = "\n".join(words)
    if any(found.search(said) for found in names(person.id, person.name)):
        return NAMED
    headed = [unit for unit in organisation.units if unit.head == person.id]
    return OFFICE if any(office(unit).search(said) for unit in headed) else None


@lru_cache(maxsize=10_000)
def names(id_: str, name: str) -> tuple[re.Pattern[str], ...]:
    """Patterns for a person's id and name. A name in Latin letters must stand on its own."""
    wanted = [word for word in (id_, name) if len(word) >= SHORTEST_NAME]
    return tuple(standing_alone(re.escape(word), word) for word in wanted)


def standing_alone(pattern: str, word: str) -> re.Pattern[str]:
    if not word.isascii():
        return re.compile(pattern)
    return re.compile(rf"(?<![\w.-]){pattern}(?![\w-]|\.\w)", re.IGNORECASE | re.ASCII)


def office(unit: Unit) -> re.Pattern[str]:
    return office_of(unit.title.get("zh", ""), unit.title.get("en", ""))


@lru_cache(maxsize=10_000)
def office_of(zh: str, en: str) -> re.Pattern[str]:
    """The head of a unit of these titles, by office."""
    ways = []
    if zh:
        ways.append(re.escape(zh) + HEADS_ZH)
    if en:
        title = re.escape(en)
        ways.append(rf"\b{HEADS_EN} of (?:the )?{title}\b|\b{title}(?:'s)? {HEADS_EN}\b")
    return re.compile("|".join(ways) or "(?!)", re.IGNORECASE)
