"""Which loop does an issue open, who leads it, by which rule and why?

An ordered list of CEL rules over typed features; the first rule whose clauses all hold decides.
Doubt of any kind (a wrong type, an unknown name, a runtime error, no matching rule) leads to a
person, `loop="triage"`, never to a default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from models.kinds import IssueKind, Level, Priority
from policy import cel
from policy.classify import Reading
from policy.organisation import Organisation, Text
from policy.rulebook import Rule, Rulebook, RuleTest, Then
from policy.taxonomy import Taxonomy, Topic

FEATURES: Mapping[str, type] = MappingProxyType(
    {
        "kind": str,
        "topic": str,
        "stage": str,
        "touchpoint": str,
        "journey": str,
        "channel": str,
        "source": str,
        "language": str,
        "sentiment": float,
        "emotion": int,
        "severity": int,
        "confidence": float,
        "rating": float,
        "has_rating": bool,
        "departments": list,
        "signals": list,
        "business": str,
        "cause": str,
        "value_band": str,
        "lifecycle": str,
        "vulnerable": bool,
        "repeats": int,
        "text_chars": int,
        "has_customer": bool,
    }
)
"""What a clause may ask, with CEL-safe types; '' is an unknown text."""

_CACHE = 65_536
_LOOPS = ("none", "small", "big", "triage")


@dataclass(frozen=True, slots=True)
class Features:
    """The facts of one issue, neutral where unknown; lists are tuples of texts.

    `sentiment` and `rating` -1..1, `emotion` and `severity` 0..3, `confidence` 0..1.
    `departments`: the topic's owner first, then its further units. `repeats`: earlier complaints
    of this customer on this topic within the policy's window.
    """

    kind: str = "complaint"
    topic: str = ""
    stage: str = ""
    touchpoint: str = ""
    journey: str = ""
    channel: str = "other"
    source: str = ""
    language: str = ""
    sentiment: float = 0.0
    emotion: int = 0
    severity: int = 0
    confidence: float = 1.0
    rating: float = 0.0
    has_rating: bool = False
    departments: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    business: str = ""
    cause: str = ""
    value_band: str = ""
    lifecycle: str = ""
    vulnerable: bool = False
    repeats: int = 0
    text_chars: int = 0
    has_customer: bool = False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of an issue beside its words: the way it came in and the customer."""

    channel: str = "other"
    source: str = ""
    language: str = ""
    rating: float | None = None
    value_band: str = ""
    lifecycle: str = ""
    vulnerable: bool = False
    repeats: int = 0
    has_customer: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a topic sits: its units and its codes in the taxonomy."""

    topic: Topic
    stage: str
    journey: str
    departments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause as judged; `holds` is None when it could not be judged. `values`: its facts."""

    text: str
    holds: bool | None
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RuleTrace:
    rule: str
    title: Text
    matched: bool
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """`loop`: none, small, big or triage; the other fields as `Then` says. `rule`: '' when no
    rule decided; `clauses`: the deciding rule's; `reason`: why a person must look, else ''.
    """

    loop: str
    level: Level
    lead: str
    participants: tuple[str, ...]
    priority: Priority
    clocks: tuple[str, ...]
    ladder: str | None
    rule: str
    policy: str
    version: str
    clauses: tuple[Clause, ...]
    reason: str


def places(taxonomy: Taxonomy) -> dict[str, Place]:
    """Topic id -> its place, looked up once per taxonomy."""
    stages = {
        touchpoint.id: (stage.id, journey.id)
        for journey in taxonomy.journeys
        for stage in journey.stages
        for touchpoint in stage.touchpoints
    }
    return {
        topic.id: Place(topic, *stages.get(topic.touchpoint, ("", "")), _departments(topic))
        for topic in taxonomy.topics
    }


def _departments(topic: Topic) -> tuple[str, ...]:
    return tuple(dict.fromkeys((topic.owner, *topic.departments)))


def features_from(
    reading: Reading, where: Mapping[str, Place], known: Circumstances = Circumstances()
) -> Features:
    """The features of one reading; `where` comes from `places`."""
    place = where.get(reading.topic or "")
    codes = place.topic.codes if place else None
    return Features(
        kind=reading.kind.value,
        topic=reading.topic or "",
        stage=place.stage if place else "",
        touchpoint=reading.touchpoint or "",
        journey=place.journey if place else "",
        channel=known.channel,
        source=known.source,
        language=known.language,
        sentiment=reading.sentiment,
        emotion=reading.emotion,
        severity=reading.severity,
        confidence=reading.confidence,
        rating=known.rating if known.rating is not None else 0.0,
        has_rating=known.rating is not None,
        departments=place.departments if place else (),
        signals=reading.signals,
        business=(codes.business or "") if codes else "",
        cause=(codes.cause or "") if codes else "",
        value_band=known.value_band,
        lifecycle=known.lifecycle,
        vulnerable=known.vulnerable,
        repeats=known.repeats,
        text_chars=len(reading.text),
        has_customer=known.has_customer,
    )


class Router:
    """Decides by one rulebook; decisions are remembered by the features its rules ask for."""

    def __init__(self, rulebook: Rulebook) -> None:
        """Raises ValueError naming rule and clause when a clause is not CEL."""
        self._rulebook = rulebook
        self._rules = [(rule, _compiled(rule)) for rule in rulebook.rules]
        names = {name for _, clauses in self._rules for c in clauses for name in c.names}
        self._unknown = tuple(sorted(names - FEATURES.keys()))
        self._names = ("kind", *sorted((names & FEATURES.keys()) - {"kind"}))
        self._types = tuple(_stored(FEATURES[name]) for name in self._names)
        self._key = attrgetter(*self._names, "kind")
        self._remembered: dict[tuple[Any, ...], Decision] = {}
        self._matching: dict[tuple[Any, ...], tuple[str, ...]] = {}

    def decide(self, features: Features) -> Decision:
        """The first matching rule's decision, with the clauses that held and their values."""
        key = self._key(features)[:-1]
        if tuple(map(type, key)) != self._types:
            return self._triage(self._wrong_types(key))
        decision = self._remembered.get(key)
        if decision is None:
            decision = self._decide(dict(zip(self._names, key, strict=True)))
            if len(self._remembered) >= _CACHE:
                self._remembered.clear()
            self._remembered[key] = decision
        return decision

    @property
    def asks(self) -> frozenset[str]:
        """The features that its rules ask for."""
        return frozenset(name for _, clauses in self._rules for c in clauses for name in c.names)

    def matching(self, features: Features) -> tuple[str, ...]:
        """Every rule whose clauses all hold, in order; the first of them decides."""
        key = self._key(features)[:-1]
        found = self._matching.get(key)
        if found is None:
            found = tuple(trace.rule for trace in self.explain(features) if trace.matched)
            if len(self._matching) >= _CACHE:
                self._matching.clear()
            self._matching[key] = found
        return found

    def explain(self, features: Features) -> list[RuleTrace]:
        """Every rule in order, each clause judged with its values, matched or not."""
        values = {name: getattr(features, name) for name in FEATURES}
        context = cel.facts(values)
        return [
            RuleTrace(rule.id, rule.title, all(c.holds is True for c in judged), judged)
            for rule, clauses in self._rules
            for judged in [tuple(_judge(c, context, values)[0] for c in clauses)]
        ]

    def _decide(self, values: Mapping[str, Any]) -> Decision:
        context = cel.facts(values)
        for rule, clauses in self._rules:
            judged = []
            for clause in clauses:
                clause_, failure = _judge(clause, context, values)
                judged.append(clause_)
                if failure is not None:
                    return self._triage(f"rule {rule.id}: {failure.reason}", rule.id, judged)
                if not clause_.holds:
                    break
            else:
                return self._apply(rule, judged, values["kind"])
        return self._triage("no rule matches")

    def _apply(self, rule: Rule, clauses: Sequence[Clause], kind: str) -> Decision:
        loop, reason = rule.then.loop, ""
        if loop in ("small", "big") and kind not in self._rulebook.opens:
            loop, reason = "none", f"{kind} opens no loop by this policy"
        return self._decision(rule.then, loop, rule.id, tuple(clauses), reason)

    def _triage(self, reason: str, rule: str = "", clauses: Sequence[Clause] = ()) -> Decision:
        return self._decision(Then(loop="triage"), "triage", rule, tuple(clauses), reason)

    def _decision(
        self, then: Then, loop: str, rule: str, clauses: tuple[Clause, ...], reason: str
    ) -> Decision:
        return Decision(
            loop=loop,
            level=then.level,
            lead=then.lead,
            participants=then.participants,
            priority=then.priority,
            clocks=then.clocks,
            ladder=then.ladder,
            rule=rule,
            policy=self._rulebook.policy,
            version=self._rulebook.version,
            clauses=clauses,
            reason=reason,
        )

    def _wrong_types(self, key: Sequence[object]) -> str:
        wrong = [
            f"{name} is {type(value).__name__}, not {expected.__name__}"
            for name, value, expected in zip(self._names, key, self._types, strict=True)
            if type(value) is not expected
        ]
        return "; ".join(wrong)


def _stored(kind: type) -> type:
    return tuple if kind is list else kind


def _compiled(rule: Rule) -> tuple[cel.Expression, ...]:
    try:
        return tuple(cel.compile_clause(text) for text in rule.when)
    except cel.ClauseError as error:
        raise ValueError(f"rule {rule.id}: {error}") from error


def _judge(
    clause: cel.Expression, context: Any, values: Mapping[str, Any]
) -> tuple[Clause, cel.Failure | None]:
    asked = {name: values[name] for name in sorted(clause.names) if name in values}
    missing = sorted(clause.names - asked.keys())
    if missing:
        return Clause(clause.text, None, asked), cel.Failure(f"unknown name {missing[0]}")
    result = cel.holds(clause, context)
    if isinstance(result, cel.Failure):
        return Clause(clause.text, None, asked), result
    return Clause(clause.text, result, asked), None


@dataclass(frozen=True)
class TestFailure:
    """One test of the policy that does not hold; `reason` says what was expected and what came."""

    __test__ = False

    position: int
    name: str
    reason: str


def run_tests(rulebook: Rulebook) -> list[TestFailure]:
    """The policy's own tests, run by lint: no passing tests, no publishing."""
    router = Router(rulebook)
    return [
        TestFailure(n, test.name, reason)
        for n, test in enumerate(rulebook.tests)
        for reason in _differences(router, test)
    ]


def _differences(router: Router, test: RuleTest) -> list[str]:
    unknown = sorted(test.given.keys() - FEATURES.keys())
    if unknown:
        return [f"given: unknown feature {name}" for name in unknown]
    decision = router.decide(replace(Features(), **as_stored(test.given)))
    known = {f.name for f in fields(Decision)}
    expected = {name: wanted for name, wanted in test.expect.items() if name != "red"}
    return [
        f"{name}: expected {_plain(wanted)!r}, got {_plain(getattr(decision, name))!r}"
        + (f" ({decision.reason})" if decision.reason else "")
        if name in known
        else f"expect: unknown field {name}"
        for name, wanted in expected.items()
        if name not in known or _plain(getattr(decision, name)) != _plain(wanted)
    ]


def as_stored(given: Mapping[str, Any]) -> dict[str, Any]:
    """A test's features as a decision takes them: YAML's lists as tuples, and whole numbers as
    decimals where the feature is one."""
    return {
        name: tuple(value)
        if isinstance(value, list)
        else float(value)
        if FEATURES[name] is float and type(value) is int
        else value
        for name, value in given.items()
    }


def _plain(value: Any) -> Any:
    return list(map(str, value)) if isinstance(value, list | tuple) else str(value)


Finding = tuple[str, str, str]
"""Rule id, what is wrong, what to do."""


def lint_rules(rulebook: Rulebook, taxonomy: Taxonomy, organisation: Organisation) -> list[Finding]:
    """What is wrong with the rules themselves; files and lines are the document loader's."""
    findings: list[Finding] = []
    vocabulary = _vocabulary(taxonomy, organisation)
    for rule in rulebook.rules:
        findings += _lint_clauses(rule.id, rule.when, vocabulary)
        findings += _lint_then(rule, organisation)
    for red in rulebook.red:
        findings += _lint_clauses(red.id, red.when, vocabulary)
    return findings + _lint_order(rulebook) + _lint_tests(rulebook)


def _vocabulary(taxonomy: Taxonomy, organisation: Organisation) -> dict[str, set[str]]:
    """The values a clause can sensibly compare a feature with."""
    located = places(taxonomy).values()
    return {
        "kind": {k.value for k in IssueKind},
        "topic": {"", *(t.id for t in taxonomy.topics)},
        "signals": {s.id for s in taxonomy.signals},
        "departments": {u.code for u in organisation.units},
        "touchpoint": {"", *(p.topic.touchpoint for p in located), *_touchpoints(taxonomy)},
        "stage": {"", *(s.id for j in taxonomy.journeys for s in j.stages)},
        "journey": {"", *(j.id for j in taxonomy.journeys)},
    }


def _touchpoints(taxonomy: Taxonomy) -> set[str]:
    return {t.id for j in taxonomy.journeys for s in j.stages for t in s.touchpoints}


def _lint_clauses(
    rule: str, clauses: Sequence[str], vocabulary: Mapping[str, set[str]]
) -> list[Finding]:
    found: list[Finding] = []
    if not clauses:
        found.append((rule, "the rule has no clause", 'write "true" if it must always hold'))
    for text in clauses:
        found += [(rule, f"{text}: {what}", fix) for what, fix in cel.problems(text, FEATURES)]
        found += [
            (rule, f"{text}: {value!r} is no known {name}", f"correct the {name} or add it")
            for name, value in cel.literals(text)
            if isinstance(value, str) and value not in vocabulary.get(name, {value})
        ]
    return found


def _lint_then(rule: Rule, organisation: Organisation) -> list[Finding]:
    then, found = rule.then, []
    if then.loop not in _LOOPS:
        found.append((rule.id, f"loop '{then.loop}' is unknown", "one of " + ", ".join(_LOOPS)))
    if then.lead.startswith("unit:"):
        units = [then.lead.removeprefix("unit:")]
    else:
        units = []
        if then.lead not in ("owner", "customer_unit"):
            found.append((rule.id, f"lead '{then.lead}'", "owner, customer_unit or unit:CODE"))
    for code in [*units, *(p for p in then.participants if p != "topic")]:
        if code not in organisation.unit_by_code:
            found.append((rule.id, f"unknown unit '{code}'", "use a code of organisation.yaml"))
    return found


def _lint_order(rulebook: Rulebook) -> list[Finding]:
    """Rules that can never decide: twins of an id, the same clauses again, or after `true`."""
    found: list[Finding] = []
    ids: set[str] = set()
    clauses: dict[frozenset[str], str] = {}
    always = ""
    for rule in rulebook.rules:
        if rule.id in ids:
            found.append((rule.id, "the id is used twice", "give every rule its own id"))
        if always:
            found.append((rule.id, f"never reached: {always} always holds", "move it before"))
        earlier = clauses.setdefault(frozenset(rule.when), rule.id)
        if earlier != rule.id:
            found.append((rule.id, f"never reached: {earlier} has the same clauses", "drop one"))
        ids.add(rule.id)
        if all(text.strip() == "true" for text in rule.when):
            always = always or rule.id
    return found


def _lint_tests(rulebook: Rulebook) -> list[Finding]:
    if not rulebook.tests:
        return [("", "the policy has no tests", "add tests: no tests, no publishing")]
    ids = {rule.id for rule in rulebook.rules}
    expected = {str(test.expect.get("rule", "")) for test in rulebook.tests}
    unknown = sorted(expected - ids - {""})
    return [
        ("", f"a test expects the unknown rule '{name}'", "correct the rule's id")
        for name in unknown
    ] + [
        (rule.id, "no test expects this rule", "add a test whose expect names it")
        for rule in rulebook.rules
        if rule.id not in expected
    ]
