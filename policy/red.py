"""What must a named senior person hear of within the minute, and who is that person?

Red rules ask the same features as routing does, of every issue of a conversation, whatever kind it
is and whether or not its topic is known; every rule that holds is a reason.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from policy import cel
from policy.organisation import Organisation, Person
from policy.route import Features, Finding, Router, TestFailure, as_stored
from policy.rulebook import RedRule, Rule, Rulebook, Then

SENIOR = "senior"
OF_CUSTOMERS = frozenset({"value_band", "lifecycle", "vulnerable"})
"""Features that take a look at the customer; words alone decide whether that look is worth it."""


class RedRules:
    """The red rules of one rulebook."""

    def __init__(self, rulebook: Rulebook) -> None:
        """Raises ValueError naming rule and clause when a clause is not CEL."""
        self.by_id = {rule.id: rule for rule in rulebook.red}
        self._all = _router(rulebook, lambda names: True)
        self._words = _router(rulebook, lambda names: not names & OF_CUSTOMERS)

    def may_hold(self, features: Features) -> bool:
        """Whether some rule could hold, were the customer the one it asks for."""
        return bool(self.by_id) and bool(self._words.matching(features))

    def holding(self, features: Features) -> tuple[RedRule, ...]:
        return tuple(self.by_id[name] for name in self._all.matching(features))


def _asked(clause: str) -> frozenset[str]:
    try:
        return cel.compile_clause(clause).names
    except cel.ClauseError:
        return frozenset()  # a clause that is not CEL is reported as such


def _router(rulebook: Rulebook, wanted: Callable[[frozenset[str]], bool]) -> Router:
    rules = tuple(
        Rule(
            rule.id,
            rule.title,
            tuple(clause for clause in rule.when if wanted(_asked(clause))),
            Then(loop="triage"),
        )
        for rule in rulebook.red
    )
    return Router(replace(rulebook, rules=rules))


def to_tell(rule: RedRule, unit: str, organisation: Organisation, day: str) -> Person | None:
    """Whom the rule names, or the first senior above `unit`; somebody on leave that ISO day is
    stood in for by the deputy, then by whoever comes next above. None when nobody is there."""
    people = organisation.person_by_id
    named = people.get(rule.tell)
    line = (named, *_above(named, organisation)) if named else _seniors(unit, organisation)
    for person in line:
        leave = person.leave_on(day)
        if leave is None:
            return person
        deputy = people.get(leave.deputy or "")
        if deputy is not None and deputy.leave_on(day) is None:
            return deputy
    return None


def _above(person: Person, organisation: Organisation) -> tuple[Person, ...]:
    line: list[Person] = []
    above = organisation.person_by_id.get(person.manager or "")
    while above is not None and above not in line:
        line.append(above)
        above = organisation.person_by_id.get(above.manager or "")
    return tuple(line)


def _seniors(unit: str, organisation: Organisation) -> tuple[Person, ...]:
    """The seniors of the unit's line, nearest first; else all there are."""
    line = tuple(p for p in organisation.managers(unit) if SENIOR in p.roles)
    return line or tuple(p for p in organisation.people if SENIOR in p.roles)


def run_red_tests(rulebook: Rulebook) -> Iterator[TestFailure]:
    """The policy's own tests that name, under `red`, which red rules hold."""
    rules = RedRules(rulebook)
    for n, test in enumerate(rulebook.tests):
        if "red" not in test.expect:
            continue
        found = [r.id for r in rules.holding(replace(Features(), **as_stored(test.given)))]
        wanted = list(test.expect["red"])
        if found != wanted:
            yield TestFailure(n, test.name, f"red: expected {wanted}, got {found}")


def lint_red(rulebook: Rulebook, organisation: Organisation) -> Iterator[Finding]:
    """What is wrong with the red rules beside their clauses: who is told, and what is untested."""
    tested = {name for test in rulebook.tests for name in test.expect.get("red", ())}
    seniors = any(SENIOR in person.roles for person in organisation.people)
    for rule in rulebook.red:
        if rule.tell != SENIOR and rule.tell not in organisation.person_by_id:
            yield rule.id, f"nobody is called '{rule.tell}'", "a person's id, or senior"
        if rule.tell == SENIOR and not seniors:
            yield rule.id, "nobody has the role `senior`", "give it to a person, or name one"
        if any("repeats" in names for names in map(_asked, rule.when)):
            yield rule.id, "`repeats` is not known yet when a red rule is asked", "ask the words"
        if rule.id not in tested:
            yield rule.id, "no test expects this rule", "add a test whose expect names it in `red`"
