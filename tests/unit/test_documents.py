"""A good set becomes values; every broken document says its line, what is wrong and what to do."""

import dataclasses
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.kinds import IssueKind, Level, UnitLevel, Yields
from policy.documents import KINDS, DocumentSet, Mistake, is_document, load_set, schema
from policy.rulebook import Recurrence
from policy.timing import Override

BANK = Path(__file__).parents[2] / "examples" / "bank"

GOOD = {
    "organisation.yaml": """
organisation: tiny
title: {zh: 小银行, en: Tiny Bank}
zone: Asia/Shanghai
language: zh
units:
  - {code: HO, level: head_office, title: {zh: 总行, en: Head office}, head: boss}
  - {code: CC, level: department, title: {zh: 卡部, en: Cards}, parent: HO, calendar: office}
  - {code: B1, level: branch, title: {zh: 分行, en: A}, parent: HO, contact: {email: b@b.invalid}}
people:
  - {id: boss, name: 老板, roles: [approver], unit: HO}
  - {id: card, name: 小卡, unit: CC, manager: boss, leave: [{first: 2026-10-01, last: 2026-10-08}]}
""",
    "taxonomy.yaml": """
taxonomy: tiny
version: "1"
journeys:
  - id: cards
    title: {zh: 用卡, en: Cards}
    stages:
      - id: pay
        title: {zh: 还款, en: Repay}
        touchpoints: [{id: bill, title: {zh: 账单, en: Bill}}]
topics:
  - id: annual-fee
    title: {zh: 年费, en: Annual fee}
    touchpoint: bill
    owner: CC
    departments: [B1]
    codes: {business: B01, cause: C01}
    words: {zh: [年费], en: [annual fee], patterns: ['年.{0,2}费'], unless: ['免年费']}
signals:
  - {id: angry, title: {zh: 生气, en: Angry}, words: {zh: [气死]}, kind: complaint, emotion: 2}
codes:
  channels: [{code: A01, title: {zh: 电话, en: Phone}}]
  business: [{code: B01, title: {zh: 卡, en: Cards}}]
  causes: [{code: C01, title: {zh: 费用, en: Fees}}]
channel_codes: {hotline: A01}
""",
    "policy.yaml": """
policy: tiny
version: "1"
opens: [complaint]
rules:
  - id: angry
    title: {zh: 生气, en: Angry}
    when: ["emotion >= 2", "topic == 'annual-fee'"]
    then: {loop: big, level: several, participants: [topic], clocks: [owner], ladder: std}
  - id: rest
    title: {zh: 其余, en: Rest}
    when: ["true"]
    then: {loop: small, lead: unit:B1}
tests:
  - {given: {emotion: 2, topic: annual-fee}, expect: {rule: angry, loop: big}}
  - {name: plain, given: {}, expect: {rule: rest}}
clocks: [owner, plan]
ladder: std
silence_days: 5
recurrence: {customers: 3, window_days: 10, baseline_days: 40, alpha: 0.05}
approvals:
  - {kind: reply, level: words, title: {zh: 函件, en: Letters}, who: ["role:approver"]}
  - {kind: compensation, level: low, title: {zh: 小额, en: Low}, who: [unit_head], up_to_fen: 100}
  - {kind: compensation, level: high, title: {zh: 大额, en: High}, who: ["head:branch"]}
""",
    "clocks.yaml": """
clocks:
  - {id: owner, kind: owner, title: {zh: 处理, en: Solve}, starts: assignment, stops: resolved,
     business_days: 3, calendar: office}
  - {id: plan, kind: owner, title: {zh: 整改, en: Plan}, starts: assignment, stops: resolved,
     business_days: 15, loop: big}
""",
    "ladders.yaml": """
ladders:
  - {id: std, title: {zh: 标准, en: Standard}, quiet: ["21:00", "08:00"],
     steps: [{id: warn, tell: owner, after_hours: -4}, {id: up, tell: manager, after_hours: 8}]}
""",
    "calendars.yaml": """
calendars:
  - id: office
    title: {zh: 办公, en: Office}
    country: CN
    zone: Asia/Shanghai
    published_years: [2026]
    shifts: {1: [["09:00", "12:00"], ["13:30", "18:00"]]}
""",
    "calendars/office-2026.yaml": """
calendar: office
year: 2026
published: true
overrides:
  - {day: 2026-10-10, kind: workday, title: {zh: 调休, en: Make-up day}}
""",
    "sources.yaml": """
sources:
  - name: calls
    title: {zh: 电话, en: Calls}
    format: {kind: delimited, encoding: gb18030}
    channel: hotline
    map: {id: no, text: [words], said_at: {field: at, format: "%Y/%m/%d %H:%M"}}
    fetch: {kind: file, path: inbox/calls/*}
  - name: counts
    title: {zh: 指标, en: Counts}
    format: {kind: jsonl}
    yields: measures
    map: {values: {touchpoint: tp, numerator: n, denominator: m}, times: {day: {field: d}}}
""",
    "templates.yaml": """
templates:
  - id: ticket_assigned
    version: "1"
    languages:
      zh: {subject: 工单, text: 请处理, mjml: <mj-text>请处理</mj-text>}
      en: {subject: Ticket, text: Please act, mjml: <mj-text>Please act</mj-text>}
""",
    "model.yaml": "{model: topics, data: training.jsonl, text: text, label: topic}",
}


def load(changes: Mapping[str, str | None] = {}) -> tuple[DocumentSet | None, list[Mistake]]:
    files = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    return load_set({name: text.encode() for name, text in files.items()})


def good() -> DocumentSet:
    found, mistakes = load()
    assert mistakes == []
    assert found is not None
    return found


def test_a_good_set_becomes_values() -> None:
    documents = good()
    assert documents.organisation.unit_by_code["B1"].level is UnitLevel.BRANCH
    assert documents.organisation.person_by_id["card"].leave[0].last == "2026-10-08"
    assert documents.taxonomy.topics[0].words.unless == ("免年费",)
    assert documents.taxonomy.signals[0].kind is IssueKind.COMPLAINT
    assert documents.rulebook.rules[0].then.level is Level.SEVERAL
    assert documents.rulebook.recurrence == Recurrence(3, 10, 40, 0.05)
    assert [clock.loop for clock in documents.clocks] == ["any", "big"]
    assert documents.ladders[0].quiet == ("21:00", "08:00")
    assert isinstance(documents.ladders[0].steps[0].after_hours, float)
    assert documents.sources[1].yields is Yields.MEASURES
    assert documents.templates[0].languages["en"].subject == "Ticket"
    assert documents.model is not None
    assert documents.model.data == "training.jsonl"


def test_year_files_are_merged_into_their_calendar() -> None:
    calendar = good().calendars[0]
    assert calendar.published_years == (2026,)
    assert calendar.overrides == (
        Override("2026-10-10", "workday", {"zh": "调休", "en": "Make-up day"}),
    )
    assert calendar.shifts == {"1": (("09:00", "12:00"), ("13:30", "18:00"))}


def test_an_unpublished_year_brings_its_days_but_is_not_published() -> None:
    changes = {
        "calendars.yaml": GOOD["calendars.yaml"].replace("[2026]", "[]"),
        "calendars/office-2026.yaml": GOOD["calendars/office-2026.yaml"].replace("true", "false"),
    }
    documents, mistakes = load(changes)
    assert mistakes == []
    assert documents is not None
    assert documents.calendars[0].published_years == ()
    assert len(documents.calendars[0].overrides) == 1


def test_lists_add_up_over_files() -> None:
    more = "clocks:\n  - {id: legal, kind: legal, title: {zh: 法, en: Law}, starts: receipt,\n"
    more += "     stops: told, calendar_days: 15}\n"
    documents, mistakes = load({"more/clocks.yaml": more})
    assert mistakes == []
    assert documents is not None
    assert {c.id for c in documents.clocks} == {"owner", "plan", "legal"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("yes", "yes"), ("no", "no"), ("on", "on"), ("2026-11-01", "2026-11-01"), ("12:30", "12:30"),
     ("007", "007"), ("0x1F", "0x1F"), ("1_000", "1_000"), ("true", True), ("12", 12),
     ("-1.5", -1.5), ('"3"', "3"), ("'true'", "true")],
)  # fmt: skip
def test_words_are_what_they_look_like(written: str, meant: object) -> None:
    text = GOOD["policy.yaml"].replace("given: {}", f"given: {{topic: {written}}}")
    _, mistakes = load({"policy.yaml": text})
    said = " ".join(m.what for m in mistakes)
    expected = f"unknown topic `{meant}`" if isinstance(meant, str) else "topic is "
    assert expected in said


BROKEN = [
    # file, what is written, what is written instead, line, words in `what`, words in `fix`
    (
        "organisation.yaml",
        "parent: HO, calendar",
        "parant: HO, calendar",
        8,
        "unknown key `parant`",
        "`parent`",
    ),
    (
        "organisation.yaml",
        "code: CC",
        "code: HO",
        8,
        "unit `HO` is already defined",
        "another name",
    ),
    (
        "organisation.yaml",
        "parent: HO, contact",
        "parent: H0, contact",
        9,
        "unknown unit `H0`",
        "`HO`",
    ),
    ("organisation.yaml", "manager: boss", "manager: bos", 12, "unknown person `bos`", "`boss`"),
    ("organisation.yaml", "head: boss", "head: nobody", 7, "unknown person `nobody`", "use one of"),
    ("organisation.yaml", "unit: CC,", "unit: XX,", 12, "unknown unit `XX`", "use one of"),
    (
        "organisation.yaml",
        "calendar: office",
        "calendar: offce",
        8,
        "unknown calendar `offce`",
        "`office`",
    ),
    (
        "organisation.yaml",
        "unit: HO}",
        "unit: HO, manager: card}",
        11,
        "their own managers: boss -> card -> boss",
        "circle",
    ),
    (
        "organisation.yaml",
        "head: boss",
        "parent: B1",
        7,
        "their own parents: HO -> B1 -> HO",
        "circle",
    ),
    (
        "organisation.yaml",
        "level: branch",
        "level: brench",
        9,
        "`level` cannot be `brench`",
        "`branch`",
    ),
    (
        "organisation.yaml",
        ", parent: HO, contact: {email: b@b.invalid}",
        "",
        9,
        "`B1` has no parent",
        "above",
    ),
    (
        "organisation.yaml",
        "last: 2026-10-08",
        "last: 2026-09-08",
        12,
        "ends before it begins",
        "swap",
    ),
    (
        "organisation.yaml",
        "last: 2026-10-08",
        "last: 2026-13-08",
        12,
        "no day `2026-13-08`",
        "YYYY",
    ),
    (
        "organisation.yaml",
        "zone: Asia/Shanghai",
        "zone: Asia/Beijing",
        4,
        "unknown time zone",
        "Asia/Shanghai",
    ),
    (
        "organisation.yaml",
        "{zh: 小银行, en: Tiny Bank}",
        "{zh: 小银行}",
        3,
        "`title` lacks `en`",
        "English",
    ),
    ("organisation.yaml", "title: {zh: 总行", "title: {zh: ' '", 7, "`zh` cannot be", "Chinese"),
    (
        "organisation.yaml",
        "b@b.invalid",
        "nowhere",
        9,
        "`email` cannot be `nowhere`",
        "Mail address",
    ),
    ("organisation.yaml", "leave: [{first", "leave: {first", 12, "YAML cannot be read", "brackets"),
    (
        "organisation.yaml",
        "language: zh",
        "language: zh\nlanguage: en",
        6,
        "`language` is already given in line 5",
        "one of the two",
    ),
    ("organisation.yaml", "language: zh", "language: *zh", 5, "alias", "write the value out"),
    ("organisation.yaml", "language: zh", "\tlanguage: zh", 5, "tab", "spaces"),
    (
        "organisation.yaml",
        "language: zh",
        "language: !!python/name:os.system zh",
        5,
        "tag",
        "remove",
    ),
    (
        "organisation.yaml",
        "language: zh",
        "---\nlanguage: zh",
        5,
        "second document",
        "file of its own",
    ),
    (
        "organisation.yaml",
        "language: zh",
        "language:",
        5,
        "`language` must be text, not empty",
        "leave the key out",
    ),
    (
        "organisation.yaml",
        "organisation: tiny",
        "organization: tiny",
        1,
        "no top-level key",
        "`organisation`",
    ),
    (
        "taxonomy.yaml",
        "touchpoint: bill",
        "touchpoint: bil",
        14,
        "unknown touchpoint `bil`",
        "`bill`",
    ),
    ("taxonomy.yaml", "owner: CC", "owner: CD", 15, "unknown unit `CD`", "`CC`"),
    (
        "taxonomy.yaml",
        "departments: [B1]",
        "departments: [B1, B1]",
        16,
        "names `B1` twice",
        "one of the two",
    ),
    (
        "taxonomy.yaml",
        "departments: [B1]",
        "departments: B1",
        16,
        "`departments` must be a list, not B1",
        "write a list",
    ),
    ("taxonomy.yaml", "cause: C01}", "cause: C09}", 17, "unknown cause code `C09`", "`C01`"),
    ("taxonomy.yaml", "年.{0,2}费", "(?=年费)", 18, "not valid RE2", "look-around"),
    ("taxonomy.yaml", "zh: [年费]", "zh: ['']", 18, "an entry of `zh` ", "keyword"),
    (
        "taxonomy.yaml",
        "words: {zh: [气死]}",
        "words: {unless: [气死]}",
        20,
        "there are no words",
        "`zh`",
    ),
    ("taxonomy.yaml", "emotion: 2", "emotion: 4", 20, "`emotion` cannot be 4", "between 0 and 3"),
    (
        "taxonomy.yaml",
        "kind: complaint",
        "kind: complain",
        20,
        "`kind` cannot be `complain`",
        "`complaint`",
    ),
    ("taxonomy.yaml", "hotline: A01", "hotline: A02", 25, "unknown channel code `A02`", "`A01`"),
    ("taxonomy.yaml", 'version: "1"', "version: 1.0", 3, "`version` must be text", '"1.0"'),
    ("policy.yaml", "emotion >= 2", "emotoin >= 2", 8, "emotoin", ""),
    ("policy.yaml", "emotion >= 2", "emotion >=", 8, "rule angry", "CEL"),
    ("policy.yaml", "topic == 'annual-fee'", "topic == 'fee'", 8, "no known topic", "topic"),
    ("policy.yaml", "clocks: [owner]", "clocks: [ownr]", 9, "unknown clock `ownr`", "`owner`"),
    ("policy.yaml", "ladder: std", "ladder: sdt", 9, "unknown ladder `sdt`", "`std`"),
    (
        "policy.yaml",
        "participants: [topic]",
        "participants: [QQ]",
        6,
        "unknown unit 'QQ'",
        "organisation.yaml",
    ),
    ("policy.yaml", "lead: unit:B1", "lead: unit:B9", 10, "unknown unit 'B9'", "organisation.yaml"),
    ("policy.yaml", "lead: unit:B1", "lead: B1", 13, "`lead` cannot be `B1`", "customer_unit"),
    ("policy.yaml", "loop: small", "loop: medium", 13, "`loop` cannot be `medium`", "`small`"),
    (
        "policy.yaml",
        "rule: angry, loop: big",
        "rule: angry, loop: small",
        15,
        "expected 'small', got 'big'",
        "test",
    ),
    (
        "policy.yaml",
        "topic: annual-fee}",
        "topic: anual-fee}",
        15,
        "unknown topic `anual-fee`",
        "`annual-fee`",
    ),
    (
        "policy.yaml",
        "given: {}, expect: {rule: rest}",
        "given: {}, expect: {rule: rst}",
        14,
        "unknown rule 'rst'",
        "",
    ),
    ("policy.yaml", "id: rest", "id: angry", 10, "used twice", "own id"),
    ("policy.yaml", "[owner, plan]", "[owner, plam]", 17, "unknown clock `plam`", "`plan`"),
    ("policy.yaml", "\nladder: std", "\nladder: sdt", 18, "unknown ladder `sdt`", "`std`"),
    ("policy.yaml", "silence_days: 5", "silence_days: 0", 19, "cannot be 0", "1 or more"),
    ("policy.yaml", "customers: 3", "customers: 1", 20, "`customers` cannot be 1", "2 or more"),
    ("policy.yaml", "window_days: 10", "window_days: 0", 20, "cannot be 0", "1 or more"),
    ("policy.yaml", "window_days: 10", "window_days: 50", 20, "shorter than the", "50 days"),
    ("policy.yaml", "alpha: 0.05", "alpha: 0", 20, "`alpha` cannot be 0", "more than 0"),
    ("policy.yaml", "alpha: 0.05", "alpha: 1", 20, "`alpha` cannot be 1", "less than 1"),
    (
        "policy.yaml",
        "clocks: [owner]",
        "clocks: [plan]",
        9,
        "none of the clocks runs for a small loop",
        "`any`",
    ),
    (
        "policy.yaml",
        "[owner, plan]",
        "[plan]",
        17,
        "none of the clocks runs for a small loop",
        "`any`",
    ),
    (
        "policy.yaml",
        "lead: unit:B1",
        "lead: unit:B1, clocks: [owner, plan]",
        13,
        "clock `plan` runs for big loops only",
        "remove it",
    ),
    ("clocks.yaml", "loop: big", "loop: bg", 6, "`loop` cannot be `bg`", "`big`"),
    (
        "clocks.yaml",
        "business_days: 3",
        "business_days: 0",
        4,
        "`business_days` cannot be 0",
        "1 or more",
    ),
    (
        "clocks.yaml",
        "business_days: 3, ",
        "",
        3,
        "an entry of `clocks` has no length",
        "exactly one of",
    ),
    (
        "clocks.yaml",
        "business_days: 3",
        "business_days: 3, calendar_days: 4",
        3,
        "`business_days` and `calendar_days`",
        "exactly one",
    ),
    (
        "clocks.yaml",
        "calendar: office",
        "calendar: ofice",
        4,
        "unknown calendar `ofice`",
        "`office`",
    ),
    (
        "clocks.yaml",
        "stops: resolved",
        "stops: solved",
        3,
        "`stops` cannot be `solved`",
        "`resolved`",
    ),
    (
        "clocks.yaml",
        "calendar: office",
        "ladder: sdt",
        4,
        "unknown ladder `sdt`",
        "`std`",
    ),
    ("clocks.yaml", "calendar: office", "warn_at: 1", 4, "`warn_at`", "1"),
    (
        "ladders.yaml",
        'quiet: ["21:00", "08:00"]',
        "stall_hours: 0",
        3,
        "`stall_hours`",
        "0",
    ),
    (
        "organisation.yaml",
        "last: 2026-10-08",
        "last: 2026-10-08, deputy: cards",
        12,
        "unknown person `cards`",
        "`boss`",
    ),
    ("policy.yaml", "role:approver", "role:aprover", 22, "unknown role `aprover`", "`approver`"),
    ("policy.yaml", "[unit_head]", "[head]", 23, "cannot be `head`", "unit_head"),
    ("policy.yaml", "kind: reply", "kind: answer", 22, "`kind` cannot be `answer`", "`reply`"),
    ("policy.yaml", "level: high", "level: low", 24, "already defined", "another name"),
    ("policy.yaml", ", up_to_fen: 100", "", 24, "the same limit", "of its own"),
    ("policy.yaml", '["role:approver"]', "[manager], up_to_fen: 5", 22, "no amount", "remove"),
    ("policy.yaml", "up_to_fen: 100", "up_to_fen: 0", 23, "cannot be 0", "1 or more"),
    ("ladders.yaml", "id: up", "id: warn", 4, "step `warn` is already defined", "another name"),
    ("ladders.yaml", '["21:00", "08:00"]', '["21:00"]', 3, "exactly 2 entries", "21:00"),
    ("ladders.yaml", '"21:00"', '"25:00"', 3, "an entry of `quiet` cannot be `25:00`", "HH:MM"),
    ("ladders.yaml", "tell: manager", "tell: mananger", 4, "`tell` cannot be", "`manager`"),
    (
        "calendars.yaml",
        "[2026]",
        "[2026, 2027]",
        7,
        "2027 is said to be published",
        "office-2027.yaml",
    ),
    ("calendars.yaml", '["13:30"', '["11:30"', 8, "09:00-12:00 and 11:30-18:00 overlap", "before"),
    ("calendars.yaml", '"18:00"', '"13:00"', 8, "ends before it begins", "midnight"),
    ("calendars.yaml", "{1: [", "{8: [", 8, "unknown key `8`", "`1`"),
    ("calendars/office-2026.yaml", "day: 2026", "day: 2025", 6, "not in 2026", "own year"),
    (
        "calendars/office-2026.yaml",
        "year: 2026",
        "year: 2025",
        3,
        "name says otherwise",
        "office-2025.yaml",
    ),
    (
        "calendars/office-2026.yaml",
        "calendar: office",
        "calendar: offic",
        2,
        "unknown calendar `offic`",
        "`office`",
    ),
    (
        "calendars/office-2026.yaml",
        "published: true",
        "published: false",
        4,
        "lists 2026 as published",
        "unlist",
    ),
    (
        "calendars/office-2026.yaml",
        "kind: workday",
        "kind: work",
        6,
        "`kind` cannot be `work`",
        "`workday`",
    ),
    ("sources.yaml", "encoding: gb18030", "encoding: gb18031", 5, "unknown encoding", "gb18030"),
    ("sources.yaml", "encoding: gb18030", "sheet: one", 5, "`sheet` means nothing", "`encoding`"),
    ("sources.yaml", "encoding: gb18030", "header: false", 5, "no column names", "`fields`"),
    ("sources.yaml", "%Y/%m/%d %H:%M", "%Y/%Q", 7, "not a form of time", "%Y-%m-%d"),
    ("sources.yaml", "kind: file, path: inbox/calls/*", "kind: file", 8, "no `path`", "add `path`"),
    ("sources.yaml", "text: [words], ", "", 7, "where the customer's words are", "`text`"),
    (
        "sources.yaml",
        "channel: hotline",
        "channel: hotlne",
        6,
        "unknown channel `hotlne`",
        "`hotline`",
    ),
    (
        "sources.yaml",
        "name: counts",
        "name: calls",
        9,
        "source `calls` is already defined",
        "another",
    ),
    (
        "sources.yaml",
        "times: {day: {field: d}}",
        "",
        13,
        "needs `map.times.day`",
        "`day`",
    ),
    ("sources.yaml", "numerator: n", "numerater: n", 13, "unknown property `numerater`", "`num"),
    ("sources.yaml", "kind: jsonl", "kind: jsnl", 11, "`kind` cannot be `jsnl`", "`jsonl`"),
    ("templates.yaml", "subject: Ticket, ", "", 7, "`en` lacks `subject`", "Subject line"),
    ("templates.yaml", "text: Please act", "txt: Please act", 7, "unknown key `txt`", "`text`"),
    ("model.yaml", "label: topic", "lable: topic", 1, "unknown key `lable`", "`label`"),
]


@pytest.mark.parametrize(("file", "old", "new", "line", "what", "fix"), BROKEN)
def test_a_mistake_says_where_what_and_what_to_do(
    file: str, old: str, new: str, line: int, what: str, fix: str
) -> None:
    assert old in GOOD[file]
    documents, mistakes = load({file: GOOD[file].replace(old, new, 1)})
    assert documents is None
    hits = [m for m in mistakes if (m.file, m.line) == (file, line) and what in m.what]
    assert hits, mistakes
    assert any(fix in m.fix for m in hits), mistakes


def test_a_rule_that_opens_a_big_loop_names_a_clock_that_runs_for_it() -> None:
    text = GOOD["clocks.yaml"].replace("calendar: office", "calendar: office, loop: small")
    _, mistakes = load({"clocks.yaml": text})
    assert [(m.file, m.line, m.what, m.fix) for m in mistakes] == [
        (
            "policy.yaml",
            9,
            "none of the clocks runs for a big loop",
            "add one whose `loop` is `big` or `any`",
        )
    ]


def test_every_mistake_is_reported_at_once() -> None:
    _, mistakes = load(
        {
            "organisation.yaml": GOOD["organisation.yaml"].replace("manager: boss", "manager: x"),
            "taxonomy.yaml": GOOD["taxonomy.yaml"].replace("owner: CC", "owner: ZZ"),
            "ladders.yaml": GOOD["ladders.yaml"].replace("tell: owner", "tell: me"),
            "calendars.yaml": GOOD["calendars.yaml"].replace("Asia/Shanghai", "Mars/Base"),
        }
    )
    assert [m.file for m in mistakes] == [
        "calendars.yaml", "ladders.yaml", "organisation.yaml", "taxonomy.yaml",
    ]  # fmt: skip


def test_a_wrong_key_does_not_hide_the_rest_of_its_file() -> None:
    text = GOOD["taxonomy.yaml"].replace("emotion: 2", "emotion: 9, colour: red")
    _, mistakes = load({"taxonomy.yaml": text.replace("owner: CC", "owner: ZZ")})
    assert [m.what for m in mistakes] == [
        "unknown unit `ZZ`",
        "`emotion` cannot be 9",
        "unknown key `colour` in an entry of `signals`",
    ]


def test_a_broken_file_makes_no_names_unknown() -> None:
    _, mistakes = load({"organisation.yaml": "organisation: tiny\ncolour: red\n"})
    assert {m.file for m in mistakes} == {"organisation.yaml"}


@pytest.mark.parametrize("kind", [k for k, v in KINDS.items() if v.required])
def test_a_set_needs_every_required_kind(kind: str) -> None:
    documents, mistakes = load({f"{kind}.yaml": None})
    assert documents is None
    assert [m for m in mistakes if f"no `{kind}` document" in m.what and m.fix]


def test_one_organisation_per_set() -> None:
    _, mistakes = load({"second.yaml": GOOD["organisation.yaml"]})
    assert [m.file for m in mistakes] == ["second.yaml"]
    assert "organisation.yaml is one already" in mistakes[0].what


@pytest.mark.parametrize(
    ("data", "line", "what"),
    [
        (b"", 1, "empty"),
        (b"# nothing\n", 1, "empty"),
        (b"- a\n", 1, "not a set of keys"),
        (b"clocks:\n  - \xff\n", 2, "not UTF-8"),
        ("clocks: []".encode("utf-16"), 1, "not UTF-8"),
        (b"clocks:\n  - a\x01\n", 2, "does not allow"),
        (b"clocks: " + b"[" * 100_000 + b"]" * 100_000, 1, "nested too deep"),
        (b"clocks:\n  - 'open\n", 3, "cannot be read"),
        (b"clocks: {[a]: b}\n", 1, "single word"),
        (b"clocks: {? {a: b} : c}\n", 1, "single word"),
        (b"clocks: &a [*a]\n", 1, "alias"),
        (b"clocks:\n  - &a {}\n  - {*a : 1}\n", 3, "single word"),
    ],
)
def test_bytes_that_are_no_document(data: bytes, line: int, what: str) -> None:
    documents, mistakes = load_set({"clocks.yaml": data})
    assert documents is None
    assert [m for m in mistakes if m.line == line and what in m.what], mistakes


def test_a_byte_order_mark_is_no_mistake() -> None:
    files = {name: b"\xef\xbb\xbf" + text.encode() for name, text in GOOD.items()}
    assert load_set(files)[1] == []


def test_is_document() -> None:
    names = ["a.yaml", "calendars/b.yml", "training.jsonl", "README.md", "data/x.csv"]
    assert [is_document(n) for n in names] == [True, True, False, False, False]


# Schemas


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_strict_described_and_valid(kind: str) -> None:
    from jsonschema import Draft202012Validator

    document = json.loads(schema(kind))
    Draft202012Validator.check_schema(document)
    assert document["$schema"].endswith("2020-12/schema")
    for part in (document, *document.get("$defs", {}).values()):
        assert part["description"]
        if part["type"] == "object":
            assert part["additionalProperties"] is False
            assert all("$ref" in p or p["description"] for p in part["properties"].values())


def test_an_unknown_kind_has_no_schema() -> None:
    with pytest.raises(KeyError):
        schema("colours")


@pytest.mark.parametrize("kind", KINDS)
def test_schema_and_dataclass_name_the_same_keys(kind: str) -> None:
    document, builds = json.loads(schema(kind)), KINDS[kind].builds
    top = document["properties"]
    if KINDS[kind].many:
        top = document["$defs"][top[kind]["items"]["$ref"].rsplit("/", 1)[1]]["properties"]
    assert set(top) == {f.name for f in dataclasses.fields(builds) if f.init}


# Whatever is done to a good set, nothing raises

PLACES = [(name, i) for name, text in GOOD.items() for i in range(len(text))]
SCRAPS = st.sampled_from(
    ["", "\t", ":", "- ", "[", "]", "{", "}", "'", '"', "&a ", "*a", "null", "!!int ", "? ", "\n",
     "0", "-1", "1e999", "年", "\x00", "\ud7ff", "---\n", "<<: ", "true", "(", "~", "[]", "{}"]
)  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 12), SCRAPS), min_size=1, max_size=4)
)
def test_no_mutation_raises(edits: list[tuple[tuple[str, int], int, str]]) -> None:
    files = dict(GOOD)
    for (name, at), cut, scrap in edits:
        files[name] = files[name][:at] + scrap + files[name][at + cut :]
    documents, mistakes = load(files)
    assert (documents is None) == bool(mistakes)
    for mistake in mistakes:
        assert mistake.what
        assert mistake.fix
        assert 1 <= mistake.line <= files[mistake.file].count("\n") + 2


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(list(GOOD)), st.binary(max_size=60), min_size=1))
def test_no_bytes_raise(junk: dict[str, bytes]) -> None:
    documents, mistakes = load_set({name: text.encode() for name, text in GOOD.items()} | junk)
    assert documents is None
    assert mistakes


def test_a_large_organisation_is_read_in_seconds() -> None:
    head = GOOD["organisation.yaml"].split("people:")[0]
    rows = [f"  - {{id: p{i}, name: 员工, unit: CC, manager: p{i // 10}}}" for i in range(1, 5_000)]
    text = head + "people:\n  - {id: boss, name: 老板, roles: [approver], unit: HO}\n"
    text += "  - {id: p0, name: 头, unit: HO, manager: boss}\n" + "\n".join(rows)
    started = time.perf_counter()
    documents, mistakes = load({"organisation.yaml": text})
    assert mistakes == []
    assert documents is not None
    assert time.perf_counter() - started < 15


def files_of(folder: Path) -> dict[str, bytes]:
    paths = (p for p in folder.rglob("*") if p.is_file() and is_document(p.name))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def test_the_example_bank_is_without_mistakes() -> None:
    documents, mistakes = load_set(files_of(BANK))
    assert mistakes == []
    assert documents is not None


DOCS = BANK.parents[1] / "docs" / "reference" / "documents.md"


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_is_documented(kind: str) -> None:
    document = json.loads(schema(kind))
    parts = (document, *document.get("$defs", {}).values())
    keys = {key for part in parts for key in part.get("properties", {})}
    text = DOCS.read_text("utf-8")
    assert f"`{kind}`" in text
    assert [key for key in sorted(keys) if f"{key}" not in text] == []


def test_the_documented_examples_are_sound() -> None:
    kinds = "|".join(KINDS)
    blocks = re.findall(rf"```yaml\n((?:{kinds}):.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == len(KINDS) - 2  # taxonomy and policy are shown in part
    for block in blocks:
        _, mistakes = load_set({"example.yaml": block.encode()})
        wrong = [m for m in mistakes if m.file == "example.yaml"]
        incomplete = [m for m in wrong if "lacks" in m.what or "unknown" in m.what]
        elsewhere = [m for m in wrong if "published" in m.what or "name says" in m.what]
        assert len(wrong) == len(incomplete) + len(elsewhere), (block, wrong)
