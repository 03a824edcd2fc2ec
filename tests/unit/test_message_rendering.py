"""What a department head gets: lint refuses what is unsafe, rendering is masked and snapshotted."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from notifications.context import (
    CONTEXT,
    LETTER_LIMIT,
    TO_CUSTOMERS,
    WORDS_LIMIT,
    Leaf,
    Many,
    mask_context,
)
from notifications.lint import lint_template
from notifications.retry import ATTEMPTS, LIMIT, backoff
from notifications.templates import RenderError, render
from policy.message_templates import MessageTemplate, TemplateBody

ROOT = Path(__file__).parents[2]
SNAPSHOTS = ROOT / "tests" / "snapshots"
SHIPPED = yaml.safe_load((ROOT / "examples" / "bank" / "templates.yaml").read_text("utf-8"))
TEMPLATES = {
    t["id"]: MessageTemplate(
        t["id"], t["version"], {k: TemplateBody(**body) for k, body in t["languages"].items()}
    )
    for t in SHIPPED["templates"]
}
ASSIGNED = TEMPLATES["ticket_assigned"]

ZH: dict[str, Any] = {
    "organisation": {"title": "临江银行 客户体验"},
    "unit": {"code": "epay", "title": "电子银行部"},
    "ticket": {"id": "T261121-7K3Q9FAB", "state": "assigned", "due_at": "11月22日 18:00"},
    "loop": {
        "id": "L261121-4M8Z2QTC",
        "kind": "small",
        "kind_title": "小循环",
        "topic_title": "手机银行登录失败",
        "touchpoint_title": "手机银行登录",
        "stage_title": "使用",
        "priority": "P2",
        "level_title": "总行部门",
        "opened_at": "11月21日 09:05",
        "received_at": "11月21日 08:55",
    },
    "issue": {
        "words": "我叫张伟，登录一直转圈，\n客服让我等。打我13800138000，<b>今天</b>必须解决！"
        "详情见 http://example.com",
        "emotion_title": "强烈",
        "severity_title": "较高",
        "kind_title": "投诉",
        "channel_title": "客服热线",
    },
    "why": {"rule_id": "R6", "rule_title": "单一部门可解决", "policy_version": "2026-11-01"},
    "from_unit": {"title": "零售银行部"},
    "reason": "登录由电子银行部负责，客户 138 0013 8000 已告知",
    "rejections": [
        {"unit_title": "零售银行部", "reason": "不是我部系统", "suggested_title": "电子银行部"},
        {"unit_title": "电子银行部", "reason": "系统正常，是网点开户信息有误"},
    ],
    "triage": {"count": 12, "oldest_at": "11月20日 16:40", "due_at": "11月21日 16:40"},
    "alert": {
        "id": "R261121-9D2K4XMA",
        "source_title": "热线实时转写",
        "arrived_at": "2026-11-21 09:05",
        "arrives": "live",
        "running": "yes",
        "loop": "L261121-4M8Z2QTC",
        "words": "我叫张伟，钱被骗光了，我不想活了。打我13800138000",
    },
    "grounds": [{"title": "言语涉及轻生或人身安全"}, {"title": "轻生言语"}],
    "batch": {
        "id": "0199f3a2-7c1e-7d40-9d0a-5b7f2c3e4a11",
        "source_title": "应用商店评价",
        "count": "312",
        "attempts": "8",
        "given_up_at": "2026-11-21 09:05",
    },
    "calendar": {
        "year": "2027",
        "count": "14",
        "names": "总行与分行办公时间、网点营业时间",
        "first_due": "2027-01-04 18:00",
    },
    "seal": {
        "problem": "事件缺失或被改动",
        "epoch": "1",
        "size": "40812",
        "seq": "38744",
        "refused_at": "2026-11-21 09:05",
    },
    "reasons": [{"title": "主题不明", "count": 8}, {"title": "规则出错", "count": 4}],
    "customers": {"count": 23},
    "evidence": "14 天内 23 位客户，约为平常的 3.1 倍",
    "departments": [{"title": "电子银行部"}, {"title": "信息科技部"}],
    "answer": [
        {"title": "接单", "command": "loopwright ticket accept T261121-7K3Q9FAB --as 工号"},
        {"title": "退回", "command": "loopwright ticket reject T261121-7K3Q9FAB --reason 原因"},
        {"title": "办结", "command": "loopwright ticket resolve T261121-7K3Q9FAB --cause 代码"},
    ],
    "link": "https://cx.example/t/T261121-7K3Q9FAB",
    "person": {"name": "刘一民"},
    "role": {"id": "lead", "title": "牵头部门"},
    "lead": {"title": "电子银行部"},
    "participants": "信息科技部、运营管理部",
    "outcome": {"id": "not proven", "title": "成效未证实"},
    "changed": "登录页会说明停在哪一步、该怎么办；验证码通道已扩容。咨询电话 13800138000。",
    "effect": {
        "horizon": "90",
        "verdict": "not_proven",
        "verdict_title": "未证实",
        "reason": "修复前 90 天 262 件，修复后 90 天 241 件；"
        "比率变化 −8%（区间 −24% 至 +11%）；没有证实下降",
    },
    "clock": {
        "number": "T261121-7K3Q9FAB",
        "title": "小循环承办（3 个工作日）",
        "stops": "resolved",
        "due_at": "2026-11-24 18:00",
        "left": "7.5 个工作小时",
        "overdue": "4 个工作小时",
        "ladder_title": "标准阶梯",
    },
    "owner": {"title": "电子银行部"},
    "climb": {"tell": "manager2", "title": "上级负责人"},
    "told": [
        {"who": "电子银行部", "what": "到期前提醒", "at": "2026-11-24 10:00"},
        {"who": "电子银行部", "what": "时限已过", "at": "2026-11-24 18:00"},
    ],
    "passed": "部门负责人",
    "matter": {
        "number": "L261121-4M8Z2QTC",
        "topic_title": "手机银行登录失败",
        "said_on": "2026年11月21日",
    },
    "done": "已为客户 138 0013 8000 重置登录密码并核对设备，当日可正常登录。",
    "answer_by": "2026年12月1日",
    "asked_on": "2026年11月24日",
    "final": "yes",
    "first_answer": "已解决",
    "said": {"answer": "已解决", "words": "还是登不上，打我13800138000"},
    "called": [{"at": "2026-11-24 10:00", "outcome": "无人接听"}],
    "approval": {
        "id": "A261121-5N2W8RBX",
        "kind_title": "补偿",
        "level_title": "分行或部门负责人（二千元以内）",
        "asked_by": "严丽华",
        "unit_title": "电子银行部",
        "asked_at": "2026-11-21 10:20",
        "case": "L261121-4M8Z2QTC",
        "ticket": "T261121-7K3Q9FAB",
    },
    "terms": [
        {"title": "金额", "says": "¥260.00"},
        {"title": "本单累计", "says": "¥260.00"},
    ],
    "letter": "尊敬的客户：您反映的登录问题已经查明并处理。如需协助请拨打 13800138000。",
    "absent": {"name": "曹子墨"},
    "decision": {
        "id": "refused",
        "title": "不同意",
        "by": "林雅文",
        "at": "2026-11-21 11:40",
        "why": "先补齐客户 13800138000 的损失证明",
    },
}
EN: dict[str, Any] = {
    **ZH,
    "batch": {**ZH["batch"], "source_title": "App store reviews"},
    "calendar": {**ZH["calendar"], "names": "Office hours, Counter hours"},
    "seal": {**ZH["seal"], "problem": "an event is missing or was changed"},
    "organisation": {"title": "Linjiang Bank, customer experience"},
    "unit": {"code": "epay", "title": "Digital Banking"},
    "ticket": {**ZH["ticket"], "due_at": "22 Nov 18:00"},
    "loop": {
        **ZH["loop"],
        "kind_title": "small loop",
        "topic_title": "Mobile login fails",
        "touchpoint_title": "mobile login",
        "stage_title": "use",
        "level_title": "head-office department",
        "opened_at": "21 Nov 09:05",
        "received_at": "21 Nov 08:55",
    },
    "issue": {
        "words": "My name is John Smith, login spins for ever. Call +86 13800138000, <b>today</b>!",
        "emotion_title": "strong",
        "severity_title": "high",
        "kind_title": "Complaint",
        "channel_title": "hotline",
    },
    "why": {
        "rule_id": "R6",
        "rule_title": "one department can solve it",
        "policy_version": "2026-11-01",
    },
    "from_unit": {"title": "Retail Banking"},
    "reason": "Login belongs to Digital Banking, customer 138 0013 8000 knows",
    "approval": {
        **ZH["approval"],
        "kind_title": "compensation",
        "level_title": "Head of the branch or department (up to 2 000 yuan)",
        "unit_title": "Digital Banking",
    },
    "terms": [
        {"title": "amount", "says": "¥260.00"},
        {"title": "in all for this loop", "says": "¥260.00"},
    ],
    "letter": "Dear customer, we have found why you could not log in. Call us at 13800138000.",
    "decision": {
        **ZH["decision"],
        "title": "refused",
        "why": "First show what customer 13800138000 lost",
    },
    "rejections": [
        {
            "unit_title": "Retail Banking",
            "reason": "not our system",
            "suggested_title": "Digital Banking",
        },
        {"unit_title": "Digital Banking", "reason": "system is fine, account data is wrong"},
    ],
    "triage": {"count": 12, "oldest_at": "20 Nov 16:40", "due_at": "21 Nov 16:40"},
    "alert": {
        **ZH["alert"],
        "source_title": "Hotline, live transcript",
        "arrives": "daily",
        "running": "",
        "words": "My name is John Smith, my money is gone. Call +86 13800138000",
    },
    "grounds": [{"title": "Talk of self-harm or bodily harm"}, {"title": "Talk of self-harm"}],
    "reasons": [{"title": "topic unclear", "count": 8}, {"title": "rule failed", "count": 4}],
    "evidence": "23 customers in 14 days, about 3.1 times the usual",
    "departments": [{"title": "Digital Banking"}, {"title": "Technology"}],
    "answer": [
        {"title": "Accept", "command": "loopwright ticket accept T261121-7K3Q9FAB --as ID"},
        {"title": "Reject", "command": "loopwright ticket reject T261121-7K3Q9FAB --reason WHY"},
    ],
    "person": {"name": "Liu Yimin"},
    "role": {"id": "participant", "title": "participant"},
    "lead": {"title": "Digital Banking"},
    "participants": "Technology, Operations",
    "outcome": {"id": "abandoned", "title": "abandoned"},
    "changed": "The login page now says at which step it stopped and what to do. Call 13800138000.",
    "effect": {
        **ZH["effect"],
        "verdict_title": "not proven",
        "reason": "262 in 90 days before the fix, 241 in 90 days after; the rate changed by −8%"
        " (interval −24% to +11%); no fall is proven",
    },
    "clock": {
        **ZH["clock"],
        "title": "Small loop handling (3 business days)",
        "left": "7.5 working hours",
        "overdue": "4 working hours",
        "ladder_title": "Standard ladder",
    },
    "owner": {"title": "Digital Banking"},
    "climb": {"tell": "ops", "title": "customer experience operations"},
    "told": [
        {"who": "Digital Banking", "what": "reminded before due", "at": "2026-11-24 10:00"},
        {
            "who": "Liu Yimin (Digital Banking)",
            "what": "taken up the line",
            "at": "2026-11-25 11:00",
        },
    ],
    "passed": "the head's manager",
    "matter": {
        **ZH["matter"],
        "topic_title": "Mobile login fails",
        "said_on": "21 November 2026",
    },
    "done": "We reset the password of customer 138 0013 8000 and checked the device.",
    "answer_by": "1 December 2026",
    "asked_on": "24 November 2026",
    "first_answer": "solved",
    "said": {"answer": "solved", "words": "It still fails, call +86 13800138000"},
    "called": [{"at": "2026-11-24 10:00", "outcome": "no answer"}],
}
CONTEXTS = {"zh": ZH, "en": EN}


class Page(HTMLParser):
    """Tags and visible words of a rendered page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.links: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


# The shipped templates


def test_every_declared_template_is_shipped_in_both_languages() -> None:
    assert set(TEMPLATES) == set(CONTEXT)
    assert all(set(template.languages) == {"zh", "en"} for template in TEMPLATES.values())


@pytest.mark.parametrize("name", sorted(CONTEXT))
def test_shipped_templates_are_clean(name: str) -> None:
    assert lint_template(TEMPLATES[name]) == []


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("name", sorted(CONTEXT))
def test_shipped_templates_look_as_reviewed(name: str, language: str) -> None:
    """To accept a change: delete the snapshot, run, and read the new one."""
    made = render(TEMPLATES[name], language, CONTEXTS[language])
    for ending, content in (("txt", f"{made.subject}\n\n{made.text}"), ("html", made.html + "\n")):
        path = SNAPSHOTS / f"{name}.{language}.{ending}"
        if not path.exists():
            path.write_text(content, "utf-8")
            pytest.fail(f"{path.name} was not there; it is now: read it")
        assert content == path.read_text("utf-8"), f"{path.name} differs"


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("name", sorted(CONTEXT))
def test_a_message_shows_no_personal_data_and_loads_nothing(name: str, language: str) -> None:
    made = render(TEMPLATES[name], language, CONTEXTS[language])
    whole = made.subject + made.text + made.html
    for canary in ("13800138000", "138 0013 8000", "张伟", "John Smith", "http://example.com"):
        assert canary not in whole
    assert set(Page(made.html).links) == (set() if name in TO_CUSTOMERS else {ZH["link"]})
    assert not re.search(r"\bsrc=|@import|url\(|<script|<link", made.html)


def test_subject_begins_with_the_number_of_the_ticket() -> None:
    for name in ("ticket_assigned", "ticket_reassigned", "loop_reopened"):
        assert render(TEMPLATES[name], "en", EN).subject.startswith("[T261121-7K3Q9FAB] ")


# Refusals while rendering


def without(context: dict[str, Any], path: str) -> dict[str, Any]:
    holder, _, name = path.rpartition(".")
    if not holder:
        return {k: v for k, v in context.items() if k != name}
    return {**context, holder: {k: v for k, v in context[holder].items() if k != name}}


@pytest.mark.parametrize(
    "path", ["unit.title", "issue.words", "loop.topic_title", "ticket.id", "answer", "organisation"]
)
def test_a_missing_variable_is_not_sent(path: str) -> None:
    with pytest.raises(RenderError) as caught:
        render(ASSIGNED, "zh", without(ZH, path))
    assert path.rpartition(".")[2] in str(caught.value)
    assert "张伟" not in str(caught.value)


def test_missing_language_and_unknown_template_are_not_sent() -> None:
    with pytest.raises(RenderError):
        render(ASSIGNED, "fr", ZH)
    with pytest.raises(RenderError):
        render(replace(ASSIGNED, id="unheard_of"), "zh", ZH)


@pytest.mark.parametrize("wrong", [{"answer": "text"}, {"loop": "text"}, {"answer": [1]}])
def test_a_context_of_the_wrong_shape_is_not_sent(wrong: dict[str, Any]) -> None:
    with pytest.raises(RenderError):
        render(ASSIGNED, "zh", {**ZH, **wrong})


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "x"])
def test_a_strange_link_is_not_sent(link: str) -> None:
    with pytest.raises(RenderError):
        render(ASSIGNED, "zh", {**ZH, "link": link})


def test_optional_values_may_be_absent() -> None:
    made = render(ASSIGNED, "zh", without(without(ZH, "link"), "ticket.due_at"))
    assert "请尽快接单并办结" in made.text
    assert Page(made.html).links == []


def test_only_declared_values_reach_a_template() -> None:
    masked = mask_context(
        "triage_waiting", {**ZH, "secret": "x", "triage": {**ZH["triage"], "y": 1}}
    )
    assert set(masked) == {"organisation", "answer", "link", "triage", "reasons"}
    assert set(masked["triage"]) == {"count", "oldest_at", "due_at"}


WAYS = {
    "first_answer": ("请在到期前联系客户", "Contact the customer before it is due"),
    "told": ("请在到期前把处理决定告知客户", "Tell the customer your decision before it is due"),
    "closed": ("得到客户确认", "have the customer confirm it"),
    "resolved": ("请现在就退回或转办", "reject it or pass it on now"),
}


@pytest.mark.parametrize("stops", WAYS)
def test_a_reminder_asks_for_what_stops_its_clock(stops: str) -> None:
    for language, asked in zip(CONTEXTS, WAYS[stops], strict=True):
        context = CONTEXTS[language]
        made = render(
            TEMPLATES["clock_reminder"],
            language,
            {**context, "clock": {**context["clock"], "stops": stops}},
        )
        assert asked in made.text
        assert asked in made.html
        others = {words for pair in WAYS.values() for words in pair} - {*WAYS[stops]}
        assert not [words for words in others if words in made.text]


@pytest.mark.parametrize("tell", ["owner", "manager", "manager2", "ops", "senior", ""])
def test_each_step_of_the_ladder_is_asked_for_something_else(tell: str) -> None:
    asked = set()
    for other in ("owner", "manager", "manager2", "ops", "senior"):
        context = {**ZH, "climb": {"tell": other, "title": "x"}}
        made = render(TEMPLATES["clock_climbed"], "zh", context)
        asked.add(made.text.split("【请您做什么】")[1].split("【怎样处理】")[0])
    assert len(asked) == 5
    made = render(TEMPLATES["clock_climbed"], "en", {**EN, "climb": {"tell": tell}})
    assert "WHAT WE ASK OF YOU\n" in made.text
    assert "()" not in made.text


def test_a_provisional_time_says_so() -> None:
    for language, shown in (
        ("zh", "4 个工作小时（暂定）。"),
        ("en", "4 working hours ago (暂定)."),
    ):
        context = CONTEXTS[language]
        clock = {**context["clock"], "provisional": "暂定"}
        made = render(TEMPLATES["clock_breached"], language, {**context, "clock": clock})
        assert shown in made.text
        assert "（）" not in render(TEMPLATES["clock_breached"], language, context).html


def test_a_unit_is_greeted_where_nobody_is_named() -> None:
    for name in ("clock_reminder", "clock_breached", "clock_climbed"):
        unnamed = render(TEMPLATES[name], "zh", {**ZH, "person": {}})
        assert unnamed.text.startswith("电子银行部负责同事：您好！\n\n有一件") or (
            name == "clock_climbed" and unnamed.text.startswith("电子银行部负责同事：您好！\n\n")
        )
        assert render(TEMPLATES[name], "zh", ZH).text.startswith("刘一民，您好！\n\n")


# What stands in the rooms of the house and must not reach a customer.
INTERNAL = (
    "loopwright", "--as", "P2", "R6", "策略", "policy", "单一部门", "one department can",
    "T261121", "工单", "ticket", "小循环", "small loop", "电子银行部", "Digital Banking",
    "情绪", "Emotion", "刘一民", "Liu Yimin", "标准阶梯",
)  # fmt: skip


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("name", sorted(TO_CUSTOMERS))
def test_customers_see_nothing_of_the_house(name: str, language: str) -> None:
    made = render(TEMPLATES[name], language, CONTEXTS[language])
    whole = made.subject + made.text + " ".join(Page(made.html).words)
    assert [word for word in INTERNAL if word in whole] == []
    assert ZH["matter"]["number"] in made.subject
    assert "forward" not in whole
    assert "转发" not in whole


def test_customer_templates_declare_nothing_of_the_staffs() -> None:
    staffs = {n for name, shape in CONTEXT.items() if name not in TO_CUSTOMERS for n in shape}
    shared = {name for one in TO_CUSTOMERS for name in CONTEXT[one]} & staffs
    assert shared == {"organisation", "matter", "done", "answer_by", "changed"}


def test_a_customer_is_not_told_of_nothing() -> None:
    with pytest.raises(RenderError, match="changed"):
        render(TEMPLATES["cause_closed"], "zh", {**ZH, "changed": None})


def test_a_letter_to_a_customer_is_longer_than_a_glance() -> None:
    words = "改" * 2 * LETTER_LIMIT
    assert len(mask_context("cause_closed", {"changed": words})["changed"]) == LETTER_LIMIT


def test_free_text_is_cut_after_masking() -> None:
    words = "满" * (WORDS_LIMIT - 5) + "13800138000"
    shown = mask_context("ticket_assigned", {"issue": {"words": words}})["issue"]["words"]
    assert len(shown) == WORDS_LIMIT
    assert "13800" not in shown


def test_declared_names_hide_no_dict_method() -> None:
    def names(shape: Any) -> set[str]:
        if isinstance(shape, Leaf):
            return set()
        inner = shape.item if isinstance(shape, Many) else shape
        return set(inner) | {name for value in inner.values() for name in names(value)}

    assert all(not hasattr({}, name) for shape in CONTEXT.values() for name in names(shape))


def test_every_template_and_variable_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "messages.md").read_text("utf-8")
    for template_id, shape in CONTEXT.items():
        assert f"`{template_id}`" in page
        for name, inner in shape.items():
            assert re.search(rf"`{name}\b", page), name
            parts = inner.item if isinstance(inner, Many) else inner
            for part in parts if isinstance(parts, dict) else ():
                assert re.search(rf"[`. ]{part}\b", page), f"{name}.{part}"


# Arbitrary customers' words


@given(words=st.text(max_size=400))
@settings(max_examples=150, deadline=None)
def test_customers_words_never_break_out(words: str) -> None:
    """The page has the same tags and links whatever the customer wrote."""
    context = {**ZH, "issue": {**ZH["issue"], "words": words}}
    made, plain = render(ASSIGNED, "zh", context), render(ASSIGNED, "zh", ZH)
    assert Page(made.html).tags == Page(plain.html).tags
    assert Page(made.html).links == Page(plain.html).links
    assert not re.search(r"[\r\n\x00-\x1f]", made.subject)


HOSTILE = [
    "<script>alert(1)</script>",
    "</mj-text><mj-button href='https://evil.example'>x</mj-button>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "]]></mj-text>",
    "<!-- x",
    "{{ loop.id }}{% raw %}",
    "\x00\x01\x1b[31m\ufffe\ud800",
    "\r\nBcc: all@evil.example\r\n\r\nbody",
    "\u202egnp.exe",
    "<mj-include path='/etc/passwd' />",
    "' onload='x",
    '" style="position:fixed',
]


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_stay_words(words: str) -> None:
    context = {
        **ZH,
        "issue": {**ZH["issue"], "words": words},
        "unit": {"code": words, "title": words},
        "loop": {**ZH["loop"], "topic_title": words},
    }
    made = render(ASSIGNED, "zh", context)
    assert Page(made.html).tags == Page(render(ASSIGNED, "zh", ZH).html).tags
    assert "\n" not in made.subject
    assert "\r" not in made.text


# Lint: what an editor may not save

EXPRESSIONS = [
    "{{ ticket.id() }}",
    "{{ unit.title.upper() }}",
    "{{ unit.title.__class__ }}",
    "{{ unit.__init__.__globals__ }}",
    "{{ _secret }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ config }}",
    "{{ lipsum(20000) }}",
    "{{ range(10**9) }}",
    "{{ cycler }}",
    "{{ namespace() }}",
    "{{ dict(a=1) }}",
    "{{ 'a' * 999999999 }}",
    "{{ 10 ** 9 }}",
    "{{ 1 + 1 }}",
    "{{ 7 // 2 }}",
    "{{ 7 % 2 }}",
    "{{ -1 }}",
    "{{ 'a' ~ 'b' }}",
    "{{ unit['title'] }}",
    "{{ unit.title[0] }}",
    "{{ unit.title[::-1] }}",
    "{{ [1, 2] }}",
    "{{ (1, 2) }}",
    "{{ {'a': 1} }}",
    "{{ 'x' if unit.title else 'y' }}",
    "{{ unit.title is defined }}",
    "{{ unit.title | safe }}",
    "{{ unit.title | center(99999999) }}",
    "{{ unit.title | format('%99999999d') }}",
    "{{ unit | attr('title') }}",
    "{{ unit.title | indent(9) }}",
    "{{ unit.title | map('upper') }}",
    "{{ unit.title | tojson }}",
    "{{ unit.title | urlize }}",
    "{{ unit.title | nosuch }}",
    "{{ unit.title | default(ticket.id) }}",
    "{{ unit.title | default(value='x') }}",
    "{{ unit.title == 'x' }}",
    "{{ unit }}",
    "{{ answer }}",
    "{{ unit.titel }}",
    "{{ unit.title.length }}",
    "{{ customer.name }}",
    "{{ password }}",
    "{% set x = 1 %}",
    "{% set x %}y{% endset %}",
    "{% for a in answer %}{% for b in answer %}x{% endfor %}{% endfor %}",
    "{% for a in unit %}x{% endfor %}",
    "{% for a in unit.title %}x{% endfor %}",
    "{% for a in answer if a.title %}x{% endfor %}",
    "{% for a, b in answer %}x{% endfor %}",
    "{% for a in answer recursive %}x{% endfor %}",
    "{% for a in answer %}{{ loop.index }}{% endfor %}",
    "{% for a in answer %}{{ loop.id }}{% endfor %}",
    "{% for a in answer %}{{ a.secret }}{% endfor %}",
    "{% macro m() %}x{% endmacro %}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{% block b %}x{% endblock %}",
    "{% call x() %}y{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% with x = 1 %}y{% endwith %}",
    "{% autoescape false %}x{% endautoescape %}",
    "{% do x %}",
    "{% if unit.title %}",
    "{{ unit.title",
    "{% if " + "(" * 3000 + "1" + ")" * 3000 + " %}x{% endif %}",
    "x" * 30_000,
    "",
]
MARKUP = [
    "<mj-text><script>x</script></mj-text>",
    "<mj-raw><b>x</b></mj-raw>",
    "<mj-include path='/etc/passwd' />",
    "<mj-image src='https://evil.example/x.png' />",
    "<mj-unknown>x</mj-unknown>",
    "<MJ-TEXT>x</MJ-TEXT>",
    "<mj-text>x</mj-column></mj-text>",
    "</mj-column><mj-column>",
    "<mj-text>x",
    "plain words",
    "{{ unit.title }}",
    "<b>x</b>",
    "<mj-text><mj-text>x</mj-text></mj-text>",
    "<mj-text><p>x</mj-text></p>",
    "<mj-text><br></mj-text>",
    "<mj-text onclick='x'>x</mj-text>",
    "<mj-text style='x'>x</mj-text>",
    "<mj-text css-class='x'>x</mj-text>",
    "<mj-text color='{{ unit.title }}'>x</mj-text>",
    "<mj-text color='red;background:url(x)'>x</mj-text>",
    "<mj-text {{ unit.title }}>x</mj-text>",
    "<mj-text{% if unit.title %} color='red'{% endif %}>x</mj-text>",
    "<mj-text mj-class='mine'>x</mj-text>",
    "<mj-button href='https://evil.example'>x</mj-button>",
    "<mj-button href='javascript:x'>x</mj-button>",
    "<mj-button href='{{ unit.title }}'>x</mj-button>",
    "<mj-button href='https://evil.example/{{ link }}'>x</mj-button>",
    "<mj-text><a href='https://evil.example'>x</a></mj-text>",
    "<mj-text><img src='x'/></mj-text>",
    "<mj-text><!-- x --></mj-text>",
    "<!DOCTYPE x>",
    "<?xml version='1.0'?>",
    "<mj-text><![CDATA[x]]></mj-text>",
    "<mj-text><{# x #}script></mj-text>",
    "<mj-text><scr{# x #}ipt></mj-text>",
    "<mj-text><{{ unit.title }}></mj-text>",
    "<mj-text>1 < 2</mj-text>",
    "<mj-text>{% raw %}<script>{% endraw %}</mj-text>",
    "{% if link %}<mj-text>{% endif %}x</mj-text>",
    "<mj-text>{% if link %}</mj-text>{% endif %}",
    "<mj-text>{% if link %}<b>{% else %}</b>{% endif %}</mj-text>",
    "{% for a in answer %}<mj-text>{% endfor %}",
    "<mj-text>\ue000\ue000</mj-text>",
]


def changed(part: str, source: str) -> MessageTemplate:
    body = replace(ASSIGNED.languages["zh"], **{part: source})
    return replace(ASSIGNED, languages={**ASSIGNED.languages, "zh": body})


@pytest.mark.parametrize("source", EXPRESSIONS)
@pytest.mark.parametrize("part", ["text", "mjml"])
def test_lint_refuses_expressions(part: str, source: str) -> None:
    whole = f"<mj-text>{source}</mj-text>" if part == "mjml" and source else source
    problems = lint_template(changed(part, whole))
    assert problems
    assert all(problem.startswith(f"zh.{part} line ") for problem in problems)


@pytest.mark.parametrize("source", MARKUP)
def test_lint_refuses_markup(source: str) -> None:
    problems = lint_template(changed("mjml", source))
    assert problems
    assert all(problem.startswith("zh.mjml line ") for problem in problems)


@pytest.mark.parametrize("source", ["{{ issue.words }}", "two\nlines", "{{ 'a' * 9 }}"])
def test_lint_refuses_subjects(source: str) -> None:
    assert lint_template(changed("subject", source))


@pytest.mark.parametrize(
    "source",
    [
        "<mj-text>{{ unit.title | upper }} {{ ticket.due_at | default('-') }}</mj-text>",
        "<mj-text>{% if not link and loop.priority == 'P1' or link %}<b>x</b>{% endif %}</mj-text>",
        '{% if link %}<mj-button href="{{ link }}">x</mj-button>{% elif answer %}'
        '<mj-divider/>{% else %}<mj-spacer height="10px" />{% endif %}',
        "<mj-text>a &amp; b &lt; c</mj-text>",
        "<mj-text color='#333333'><ul><li>x</li></ul></mj-text>",
        "{# a note #}<mj-text mj-class='quote'>{{ issue.words }}</mj-text>",
    ],
)
def test_lint_allows(source: str) -> None:
    assert lint_template(changed("mjml", source)) == []


def test_lint_names_the_line_and_a_near_name() -> None:
    problems = lint_template(changed("text", "one\ntwo {{ unit.titel }}\n{{ a() }}"))
    assert problems == ["zh.text line 3: Call is not allowed; show variables, use if and for"]
    problems = lint_template(changed("text", "one\ntwo {{ unit.titel }}"))
    assert problems == ["zh.text line 2: unknown variable 'unit.titel'; did you mean 'title'?"]


def test_lint_wants_both_languages_and_a_known_template() -> None:
    only_zh = replace(ASSIGNED, languages={"zh": ASSIGNED.languages["zh"]})
    assert lint_template(only_zh)[0].startswith("en: missing")
    assert "unknown template" in lint_template(replace(ASSIGNED, id="unheard_of"))[0]


# Retries


def test_backoff_grows_to_its_limit() -> None:
    ceilings = [backoff(n, lambda: 1.0) for n in range(1, 12)]
    assert ceilings == sorted(ceilings)
    assert ceilings[0].total_seconds() == 60
    assert ceilings[-1] == LIMIT
    assert 24 < sum(c.total_seconds() for c in ceilings[: ATTEMPTS - 1]) / 3600 < 36


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter(attempt: int, draw: float) -> None:
    wait = backoff(attempt, lambda: draw)
    assert 0 <= wait.total_seconds() <= LIMIT.total_seconds()
    assert backoff(attempt, lambda: 0.0).total_seconds() == 0


def test_backoff_counts_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        backoff(0, lambda: 0.5)
