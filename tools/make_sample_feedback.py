"""Writes the example bank's sample data and training examples, byte for byte the same each time.

    python tools/make_sample_feedback.py            # writes below examples/bank/

Ninety simulated days of one bank: everyday feedback over six sources, four common causes hidden
in it, the mess of real life, and the customers, measures and journey events that go with it. What
is hidden where is written to examples/bank/data/README.md.
"""

import csv
import io
import json
import random
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import openpyxl
import sample_phrases as phrases

HERE = Path(__file__).parent
BANK = HERE.parent / "examples" / "bank"
SEED = 20260824
FIRST = date(2026, 8, 24)
DAYS = 90
ZONE = timezone(timedelta(hours=8))
BUSY = [int(weight) for weight in "110001248998778887556532"]
"""How much is said in each hour of the day."""
OUTLETS = [
    "BR1-01-1", "BR1-01-2", "BR1-02-1", "BR1-02-2", "BR1-03-1", "BR2-01-1", "BR2-01-2", "BR2-02-1",
    "BR3-01-1", "BR3-01-2", "BR3-02-1", "BR3-02-2",
]  # fmt: skip
SOURCES = [
    "nps_survey",
    "app_reviews",
    "hotline_calls",
    "complaints",
    "branch_book",
    "social_posts",
]
BRANCH_TOPICS = {"queue-time", "counter-service", "branch-hours", "branch-facility", "atm"}
APP_TOPICS = {
    "face-recognition", "login-failed", "sms-code", "device-binding", "app-crash", "app-design",
    "app-ads", "system-outage", "transfer-limit", "quick-payment", "elderly-access", "chatbot",
}  # fmt: skip
SMALL_SUMS = {
    "annual-fee", "account-fee", "campaign-reward", "sms-notice", "credit-report", "bill-payment",
}  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """`mood`: c complaint, s suggestion, q question, p praise, l leave; capitals are English."""

    topic: str
    mood: str
    text: str


@dataclass(frozen=True)
class Customer:
    number: str
    phone: str
    mail: str
    openid: str
    band: str
    lifecycle: str
    vulnerable: bool
    outlet: str


@dataclass(frozen=True)
class Item:
    """One thing said, before it is written in the form of its source."""

    source: str
    at: datetime
    sentence: Sentence
    text: str
    customer: Customer | None = None
    unit: str = ""
    cause: str = ""
    case: str = ""
    id: str = ""


@dataclass(frozen=True)
class Cause:
    """A common cause hidden in the data: who said what, where and when because of it."""

    name: str
    story: str
    topic: str
    touchpoint: str
    first: date
    last: date
    count: int
    sources: Sequence[str]
    units: Sequence[str] = ()
    moods: str = "cccccccclC"


CAUSES = [
    Cause(
        "face-recognition-7.2.0",
        "Release 7.2.0 of the app (2026-09-16) broke the face check; 7.2.3 (2026-10-20) mends it.",
        "face-recognition", "app-login", date(2026, 9, 16), date(2026, 10, 20), 62,
        ["app_reviews", "app_reviews", "hotline_calls", "complaints", "social_posts", "nps_survey"],
    ),
    Cause(
        "annual-fee-rule",
        "From 2026-09-01 the annual fee is waived after 12 payments, not 6; customers read the old "
        "rule on the website and meet the fee on the bills from 2026-09-28.",
        "annual-fee", "card-bill", date(2026, 9, 28), date(2026, 10, 26), 48,
        ["complaints", "hotline_calls", "complaints", "nps_survey", "social_posts", "app_reviews"],
    ),
    Cause(
        "queue-system-binjiang",
        "The ticket machines of the Binjiang sub-branch (both outlets) fail 2026-10-12 to 10-30.",
        "queue-time", "queue", date(2026, 10, 12), date(2026, 10, 30), 36,
        ["branch_book", "branch_book", "nps_survey", "complaints", "hotline_calls", "social_posts"],
        ["BR1-01-1", "BR1-01-2"],
    ),
    Cause(
        "sms-gateway",
        "A new SMS gateway delays verification codes 2026-11-08 to 11-13.",
        "sms-code", "app-login", date(2026, 11, 8), date(2026, 11, 13), 22,
        ["app_reviews", "hotline_calls", "social_posts", "complaints"],
    ),
]  # fmt: skip


def main(folder: Path = BANK) -> None:
    bank = load_sentences()
    rng = random.Random(SEED)
    customers = make_customers(rng)
    items = make_items(rng, bank, customers)
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name, write in WRITERS.items():
        rows = sorted((i for i in items if i.source == name), key=lambda i: i.at)
        (data / name).with_suffix(SUFFIX[name]).write_bytes(write(random.Random(name), rows))
    (data / "customers.csv").write_bytes(customers_csv(customers))
    (data / "measures.csv").write_bytes(measures_csv(random.Random("measures")))
    (data / "journey_events.jsonl").write_bytes(journeys(random.Random("journeys"), customers))
    (data / "README.md").write_text(readme(items), encoding="utf-8")
    (folder / "training.jsonl").write_bytes(training(random.Random("training"), bank))
    sys.stdout.write(f"{len(items)} items written below {folder}\n")


def load_sentences() -> dict[str, list[Sentence]]:
    bank: dict[str, list[Sentence]] = {}
    topic = ""
    for line in (HERE / "sample_sentences.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            topic = line[3:]
            bank[topic] = []
        elif line and not line.startswith("#"):
            bank[topic].append(Sentence(topic, line[0], line[2:]))
    return bank


# People


def make_customers(rng: random.Random) -> list[Customer]:
    bands = rng.choices(
        ["standard", "silver", "gold", "platinum", "private"], [58, 24, 12, 5, 1], k=260
    )
    stages = rng.choices(["new", "active", "dormant", "at_risk"], [12, 70, 10, 8], k=260)
    return [
        Customer(
            number=f"C{10000000 + n * 37}",
            phone=f"1540000{n * 13 % 10000:04d}",
            mail=f"customer{n}@mail.invalid",
            openid=f"o-{rng.getrandbits(48):012x}",
            band=bands[n],
            lifecycle=stages[n],
            vulnerable=rng.random() < 0.07,
            outlet=rng.choice(OUTLETS),
        )
        for n in range(260)
    ]


# What is said


def make_items(
    rng: random.Random, bank: dict[str, list[Sentence]], customers: list[Customer]
) -> list[Item]:
    items = [one for cause in CAUSES for one in because_of(rng, cause, bank, customers)]
    items += [everyday(rng, bank, customers) for _ in range(330)]
    items += two_issues(rng, bank, customers)
    items += in_two_channels(rng, [i for i in items if i.customer and i.sentence.mood == "c"])
    items += follow_ups(rng, items)
    return [replace(item, id=f"{n:04d}") for n, item in enumerate(items, 1)]


def because_of(
    rng: random.Random, cause: Cause, bank: dict[str, list[Sentence]], customers: list[Customer]
) -> Iterable[Item]:
    """Most come soon after the start, fewer towards the end."""
    span = (cause.last - cause.first).days
    for n in range(cause.count):
        day = cause.first + timedelta(days=round(rng.betavariate(1.3, 2.4) * span))
        mood = rng.choice(cause.moods)
        said = pick(rng, bank, cause.topic, mood)
        source = cause.sources[n % len(cause.sources)]
        unit = rng.choice(cause.units) if cause.units else ""
        who = rng.choice(customers)
        if unit:
            who = replace_outlet(rng, customers, unit)
        yield Item(source, clock(rng, day), said, speak(rng, said, source), who, unit, cause.name)


def replace_outlet(rng: random.Random, customers: list[Customer], unit: str) -> Customer:
    return rng.choice([c for c in customers if c.outlet == unit])


def everyday(
    rng: random.Random, bank: dict[str, list[Sentence]], customers: list[Customer]
) -> Item:
    source = rng.choices(SOURCES, [20, 20, 16, 17, 15, 12])[0]
    moods = {"branch_book": "ccpppsc", "app_reviews": "cccppsCl", "nps_survey": "ccpppsCP"}
    mood = rng.choice(moods.get(source, "cccccsqpCl"))
    said = pick(rng, bank, rng.choice(topics_of(source, bank)), mood)
    day = FIRST + timedelta(days=rng.randrange(DAYS))
    who = rng.choice(customers) if rng.random() < 0.85 else None
    unit = who.outlet if who and (said.topic in BRANCH_TOPICS or source == "branch_book") else ""
    return Item(source, clock(rng, day), said, speak(rng, said, source), who, unit)


def topics_of(source: str, bank: dict[str, list[Sentence]]) -> list[str]:
    """App reviews are about the app, the comment book about the branch, the rest about all."""
    if source == "app_reviews":
        return sorted(APP_TOPICS & bank.keys())
    if source == "branch_book":
        extra = [
            "account-opening",
            "foreign-service",
            "pension-card",
            "elderly-access",
            "statements",
        ]
        return sorted(BRANCH_TOPICS) * 2 + extra
    return list(bank)


def two_issues(
    rng: random.Random, bank: dict[str, list[Sentence]], customers: list[Customer]
) -> list[Item]:
    made = []
    for _ in range(22):
        item = everyday(rng, bank, customers)
        other = pick(rng, bank, rng.choice(list(bank)), "c")
        joined = f"{item.text.rstrip('。！.!')}。另外，{fill(rng, other)}。"
        made.append(replace(item, text=joined, sentence=replace(item.sentence, mood="c")))
    return made


def in_two_channels(rng: random.Random, items: list[Item]) -> list[Item]:
    """The same person says the same thing elsewhere a day or two later."""
    swap = {
        "hotline_calls": "complaints",
        "complaints": "hotline_calls",
        "app_reviews": "hotline_calls",
    }
    chosen = rng.sample([i for i in items if i.source in swap], 18)
    return [
        replace(
            item,
            source=swap[item.source],
            at=item.at + timedelta(hours=rng.randint(3, 50)),
            text=speak(rng, item.sentence, swap[item.source]),
        )
        for item in chosen
    ]


def follow_ups(rng: random.Random, items: list[Item]) -> list[Item]:
    """Complaints nobody solved come back under the same case number."""
    cases = [i for i in items if i.source == "complaints" and i.customer and i.sentence.mood == "c"]
    made = []
    for item in rng.sample(cases, 16):
        days = rng.randint(4, 24)
        at = min(item.at + timedelta(days=days), clock(rng, FIRST + timedelta(days=DAYS - 1)))
        source = rng.choice(["complaints", "complaints", "hotline_calls"])
        text = rng.choice(phrases.FOLLOW_UPS) + speak(rng, item.sentence, source)
        made.append(replace(item, at=at, text=text, source=source, case=case_of(item)))
    return made


def case_of(item: Item) -> str:
    assert item.customer
    return f"TS{item.at:%Y%m%d}{item.customer.number[-4:]}"


def pick(rng: random.Random, bank: dict[str, list[Sentence]], topic: str, mood: str) -> Sentence:
    """A sentence of the topic in that mood, else one in any mood of the same language."""
    fitting = [s for s in bank[topic] if s.mood == mood]
    other = [s for s in bank[topic] if s.mood.isupper() == mood.isupper()]
    return rng.choice(fitting or other)


def fill(rng: random.Random, said: Sentence) -> str:
    small = said.topic in SMALL_SUMS
    amount = str(
        rng.choice(
            [58, 120, 180, 300, 480, 600] if small else [800, 2000, 3500, 8800, 12000, 50000]
        )
    )
    if not re.search(r"\{amount\}(块| yuan)", said.text):
        amount += " yuan" if said.mood.isupper() else "元"
    values = {
        "amount": amount,
        "days": str(rng.randint(3, 19)),
        "hours": rng.choice(["一个半", "两", "两个多", "三", "2"]),
        "times": str(rng.randint(3, 29)),
        "clock": rng.choice(["九点", "上午十点", "下午两点", "10:30"]),
        "weekday": rng.choice(["Monday", "Tuesday", "Thursday", "Friday"]),
    }
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), said.text)


def speak(rng: random.Random, said: Sentence, source: str = "") -> str:
    openers, closers = phrases.OPENERS[said.mood], phrases.CLOSERS[said.mood]
    if said.mood == "c" or source == "complaints":
        openers = phrases.OPENERS_OF.get(source, openers)
        closers = phrases.CLOSERS_OF.get(source, closers)
    text = rng.choice(openers) + fill(rng, said) + rng.choice(closers)
    if rng.random() < 0.1 and source != "complaints":
        wrong, right = rng.choice(phrases.TYPOS)
        text = text.replace(wrong, right, 1)
    return text


def clock(rng: random.Random, day: date) -> datetime:
    hour = rng.choices(range(24), BUSY)[0]
    return datetime(
        day.year, day.month, day.day, hour, rng.randrange(60), rng.randrange(60), tzinfo=ZONE
    )


def card(rng: random.Random) -> str:
    """A made-up card number with a right check digit."""
    digits = [int(d) for d in f"622200{rng.randrange(10**9):09d}"]
    doubled = [d if i % 2 else sum(divmod(d * 2, 10)) for i, d in enumerate(digits)]
    return "".join(map(str, digits)) + str(-sum(doubled) % 10)


def wide(text: str) -> str:
    return text.translate({ord("0") + n: "０１２３４５６７８９"[n] for n in range(10)})


def marks(rng: random.Random, mood: str, low: int, high: int) -> int:
    """A mark that mostly fits the mood."""
    span = high - low
    if rng.random() < 0.05:
        return rng.randint(low, high)
    good = {"p": (0.85, 1), "s": (0.5, 0.9), "q": (0.4, 0.8)}.get(mood.lower(), (0, 0.35))
    return low + round(rng.uniform(*good) * span)


# How each source writes it down


def columns(names: str) -> list[str]:
    return names.split()


def cells(row: str) -> list[str]:
    return row.split("|")


def delimited(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def nps_survey(rng: random.Random, items: list[Item]) -> bytes:
    head = columns(
        "问卷编号 提交时间 回收时间 推荐意愿 最主要的原因 其他想说的 客户号 触点 网点 语言"
    )
    rows: list[list[Any]] = [head]
    for item in items:
        english = item.sentence.mood.isupper()
        late = timedelta(days=rng.choice([0, 0, 0, 1, 1, 2, 9 if rng.random() < 0.2 else 1]))
        score: Any = marks(rng, item.sentence.mood, 0, 10) if rng.random() < 0.97 else ""
        rows.append([
            f"NPS-{item.id}", f"{item.at:%Y-%m-%d %H:%M:%S}", f"{item.at + late:%Y-%m-%d %H:%M:%S}",
            score, item.text, rng.choice(["", "", "", "谢谢", "n/a" if english else "暂无"]),
            item.customer.number if item.customer else "", "", item.unit, "en" if english else "zh",
        ])  # fmt: skip
    for n, words in enumerate([*phrases.NOTHING, *phrases.VAGUE]):
        at = clock(rng, FIRST + timedelta(days=rng.randrange(DAYS)))
        mark = rng.randint(5, 8)
        rows.append(cells(f"NPS-9{n:03d}|{at:%Y-%m-%d %H:%M:%S}||{mark}|{words}|||||zh"))
    rows = [head, *out_of_order(rng, rows[1:])]
    rows.insert(20, cells("NPS-8001|2026-09-31 10:00:00||3|日期写错的问卷，排队太久|||||zh"))
    rows.insert(55, cells("NPS-8002|2026-10-05 09:12:44||11|打了十一分，其实是想说很满意|||||zh"))
    rows.insert(70, cells("NPS-8003|2026-10-11 20:01:02||2|少了几列"))
    return b"\xef\xbb\xbf" + delimited(rows).encode()


def out_of_order(rng: random.Random, rows: list[Any]) -> list[Any]:
    """Mostly in order; about one row in nine arrives among later ones."""
    places = [n + (rng.randint(3, 40) if rng.random() < 0.11 else 0) for n in range(len(rows))]
    return [row for _, row in sorted(zip(places, rows, strict=True), key=lambda p: p[0])]


def app_reviews(rng: random.Random, items: list[Item]) -> bytes:
    records = [review(rng, item) for item in items]
    for words, stars, people in phrases.REPEATS:
        for _ in range(people):
            day = FIRST + timedelta(days=rng.randrange(24, DAYS))
            records.append(plain_review(rng, words, stars, clock(rng, day)))
    records.sort(key=lambda r: r["at"])
    edited = dict(
        records[40],
        score=5,
        content="更新：客服联系我之后已经解决了，改五星",
        at="2026-11-02T20:15:00+08:00",
    )
    records = [*out_of_order(rng, records), edited]
    lines = [json.dumps(r, ensure_ascii=False) for r in records]
    lines.insert(33, '{"review_id": "AR-broken", "content": "写到一半断了')
    lines.insert(77, '["AR-list", "一条不是对象的记录"]')
    lines.insert(
        90,
        '{"review_id": "AR-time", "content": "时间写成了昨天，总之闪退", "score": 1, "at": "昨天"}',
    )
    return ("\n".join(lines) + "\n").encode()


def review(rng: random.Random, item: Item) -> dict[str, Any]:
    mood = item.sentence.mood
    text = item.text
    if rng.random() < 0.25:
        text += rng.choice(phrases.HAPPY if mood in "pP" else phrases.EMOJI) * rng.choice([1, 1, 3])
    record = plain_review(rng, text, max(1, marks(rng, mood, 1, 5)), item.at)
    record |= {"review_id": f"AR-{item.id}", "title": rng.choice(phrases.TITLES[mood])}
    record["lang"] = "en" if mood.isupper() else "zh"
    if item.customer and rng.random() < 0.5:
        record["author"] = {"openid": item.customer.openid}
    return record


def plain_review(rng: random.Random, text: str, stars: int, at: datetime) -> dict[str, Any]:
    broken = datetime(2026, 9, 16, tzinfo=ZONE) <= at < datetime(2026, 10, 20, tzinfo=ZONE)
    version = "7.2.0" if broken else "7.1.4" if at.date() < date(2026, 9, 16) else "7.2.3"
    return {
        "review_id": f"AR-{rng.getrandbits(32):08x}",
        "content": text,
        "score": stars,
        "at": at.isoformat(),
        "version": version,
    }


def hotline_calls(rng: random.Random, items: list[Item]) -> bytes:
    calls = [call(rng, item) for item in out_of_order(rng, items)]
    calls.insert(
        12, call_shell(rng, "HC-8001", clock(rng, date(2026, 9, 5))) | {"segments": "转写失败"}
    )
    silent = [{"speaker": "agent", "text": "您好？喂？听得到吗？"}]
    calls.insert(
        40, call_shell(rng, "HC-8002", clock(rng, date(2026, 10, 3))) | {"segments": silent}
    )
    text = json.dumps(
        {"exported_by": "hotline-recorder", "calls": calls}, ensure_ascii=False, indent=1
    )
    return (text + "\n").encode()


def call_shell(rng: random.Random, name: str, at: datetime) -> dict[str, Any]:
    return {
        "call_id": name,
        "started_ms": int(at.timestamp() * 1000),
        "seconds": rng.randint(70, 900),
        "exported_at": (at + timedelta(hours=rng.choice([2, 6, 20, 30]))).isoformat(),
    }


def call(rng: random.Random, item: Item) -> dict[str, Any]:
    record = call_shell(rng, f"HC-{item.id}", item.at)
    if item.customer:
        record["caller"] = {"phone": item.customer.phone}
        if rng.random() < 0.4:
            record["caller"]["customer_number"] = item.customer.number
    if item.case:
        record["case_number"] = item.case
    english = item.sentence.mood.isupper()
    record["segments"] = english_talk(item) if english else talk(rng, item)
    return record


def talk(rng: random.Random, item: Item) -> list[dict[str, str]]:
    """Greeting, the matter in pieces, a question for a number, an answer, a last word."""
    agent = rng.choice(phrases.GREETINGS).format(n=rng.randint(1001, 1099))
    pieces = re.split(r"(?<=[，。！？])", item.text)
    half = max(1, len(pieces) // 2)
    turns = [("agent", agent), ("customer", rng.choice(phrases.FILLERS) + "".join(pieces[:half]))]
    if "".join(pieces[half:]).strip():
        turns += [("agent", "嗯，您请讲。"), ("customer", "".join(pieces[half:]))]
    phone = item.customer.phone if item.customer else "15400009999"
    ask = rng.choice(phrases.ASKS)
    number = card(rng) if "卡" in ask else f"{phone[:3]} {phone[3:7]} {phone[7:]}"
    turns += [("agent", ask), ("customer", rng.choice(["", "你记一下，"]) + number)]
    turns += [("agent", rng.choice(phrases.ANSWERS))]
    if item.sentence.mood in "cl":
        turns += [("customer", rng.choice(phrases.ENDINGS))]
    return [{"speaker": who, "text": text} for who, text in turns]


def english_talk(item: Item) -> list[dict[str, str]]:
    greet, ask, thanks, end = phrases.ENGLISH_CALL
    phone = item.customer.phone if item.customer else "15400009999"
    turns = [("agent", greet), ("customer", item.text), ("agent", ask), ("customer", phone)]
    turns += [("agent", thanks), ("customer", end)]
    return [{"speaker": who, "text": text} for who, text in turns]


def complaints(rng: random.Random, items: list[Item]) -> bytes:
    head = columns("工单号 投诉编号 受理时间 登记时间 受理渠道 客户号 联系电话 投诉内容 涉及机构")
    rows = [register(rng, item) for item in items]
    mended = list(rows[25])
    mended[7] = "【更正】" + mended[7] + "\n补充：经核实，客户另提供了扣款截图，金额以截图为准。"
    rows = [*out_of_order(rng, rows), mended]
    rows.insert(18, cells("GD-8001||九月初||电话|||受理时间没填对，客户反映取款机吞卡|"))
    rows.insert(48, cells("GD-8002||2026/10/06 09:30||柜面|||多了一列|||串行"))
    text = delimited([head, *rows]).encode("gb18030")
    return text + "GD-8003,,2026/10/09 11:20,,电话,,,编码坏了".encode("gb18030") + b"\xff\xff,\r\n"


def register(rng: random.Random, item: Item) -> list[str]:
    kept = item.at + timedelta(days=rng.choice([0, 0, 0, 1, 1, 3, 21 if rng.random() < 0.1 else 0]))
    channel = rng.choices(["电话", "柜面", "网站", "信函", "监管转办"], [50, 20, 18, 6, 6])[0]
    case = item.case or (case_of(item) if item.customer else "")
    return [
        f"GD-{item.id}", case, f"{item.at:%Y/%m/%d %H:%M}", f"{kept:%Y/%m/%d %H:%M}", channel,
        item.customer.number if item.customer and rng.random() < 0.75 else "",
        item.customer.phone if item.customer else "", formal(rng, item), item.unit,
    ]  # fmt: skip


def formal(rng: random.Random, item: Item) -> str:
    """As a clerk writes it down, sometimes over several lines and with numbers in it."""
    text = item.text.rstrip("。！.!")
    if item.sentence.mood.isupper():
        return text + "."
    if item.sentence.mood != "c":
        return rng.choice(["客户来电：", "客户留言：", ""]) + text + "。"
    lead = rng.choice(["客户反映：", "客户来电称，", "客户诉求如下：\n", "客户到网点反映，", ""])
    end = rng.choice(["。", "。\n", "；"]) + rng.choice(phrases.DEMANDS) + "。"
    return lead + text + numbers(rng, item) + end


def numbers(rng: random.Random, item: Item) -> str:
    """What must be masked: card, phone and identity numbers (the standard's own example)."""
    phone = item.customer.phone if item.customer else "15400009999"
    mail = item.customer.mail if item.customer else "somebody@mail.invalid"
    return rng.choice(
        [
            "",
            "",
            "",
            f"。涉及卡号{card(rng)}",
            f"。卡号尾号{rng.randint(1000, 9999)}",
            f"。联系电话{wide(phone)}",
            "。身份证号11010519491231002X",
            f"，回电请打{phone}",
            f"，也可发邮件到{mail}",
        ]
    )


def branch_book(rng: random.Random, items: list[Item]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "意见簿"
    sheet.append(["日期", "网点代码", "客户意见", "满意度", "联系方式", "登记人"])
    for item in out_of_order(rng, items):
        phone = item.customer.phone if item.customer and rng.random() < 0.55 else ""
        unit = item.unit or (item.customer.outlet if item.customer else rng.choice(OUTLETS))
        mark = max(1, marks(rng, item.sentence.mood, 1, 5)) if rng.random() < 0.9 else None
        day = item.at.replace(tzinfo=None, second=0)
        sheet.append([day, unit, item.text, mark, phone, rng.choice(["大堂", "柜台", ""])])
    sheet.append(["国庆前后", "BR1-01-1", "日期写不清的一条，叫号机又坏了", 2, "", "大堂"])
    sheet.append([datetime(2026, 10, 15, 10, 20), "BR1-01-1", "", None, "", ""])  # noqa: DTZ001
    return timeless(book)


def timeless(book: openpyxl.Workbook) -> bytes:
    """The workbook without the moments openpyxl writes into it, stored: zlibs pack differently."""
    made, kept = io.BytesIO(), io.BytesIO()
    book.save(made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(kept, "w") as new:
        for name in sorted(old.namelist()):
            body = old.read(name)
            if name == "docProps/core.xml":
                body = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2026-11-22T00:00:00Z", body)
            info = zipfile.ZipInfo(name, (2026, 11, 22, 0, 0, 0))
            new.writestr(info, body)
    return kept.getvalue()


def social_posts(rng: random.Random, items: list[Item]) -> bytes:
    lines = rng.sample(phrases.VAGUE, 3)
    for item in items:
        text = rng.choice(phrases.TAGS) + item.text.replace("\n", " ")
        if rng.random() < 0.35:
            text += rng.choice(phrases.HAPPY if item.sentence.mood in "pP" else phrases.EMOJI)
        if rng.random() < 0.05:
            text += f" 有同样情况的加我 {wide('15400005678')}"
        lines.append(text)
    return ("\n".join([*lines, "转发微博", "示范银行今天排队的人真多", "转发微博"]) + "\n").encode()


WRITERS: dict[str, Callable[[random.Random, list[Item]], bytes]] = {
    "nps_survey": nps_survey,
    "app_reviews": app_reviews,
    "hotline_calls": hotline_calls,
    "complaints": complaints,
    "branch_book": branch_book,
    "social_posts": social_posts,
}
SUFFIX = {
    "nps_survey": ".csv", "app_reviews": ".jsonl", "hotline_calls": ".json", "complaints": ".csv",
    "branch_book": ".xlsx", "social_posts": ".txt",
}  # fmt: skip


# Customers, measures, journey events


def customers_csv(customers: list[Customer]) -> bytes:
    head = columns(
        "快照号 客户号 手机号 邮箱 开放号 价值层级 生命周期 "
        "特殊客群 归属机构 客户经理 同意短信 同意电话 同意邮件 生效日 失效日"
    )
    rng = random.Random("customers")
    rows: list[list[str]] = [head]
    for n, who in enumerate(customers):
        moved = n % 20 == 7
        rows.append(snapshot(rng, who, 1, "2026-01-01", "2026-10-01" if moved else ""))
        if moved:
            rows.append(snapshot(rng, replace(who, band="gold"), 2, "2026-10-01", ""))
    rows.insert(99, cells("S-bad-1|||||gold|active|否|BR1-01-1||是|是|否|2026-01-01|"))
    return b"\xef\xbb\xbf" + delimited(rows).encode()


def snapshot(rng: random.Random, who: Customer, version: int, since: str, until: str) -> list[str]:
    consents = ["是" if rng.random() < share else "否" for share in (0.85, 0.7, 0.4)]
    return [
        f"S-{who.number}-{version}", who.number, who.phone, who.mail, who.openid, who.band,
        who.lifecycle, "是" if who.vulnerable else "否", who.outlet, f"{who.outlet.lower()}.head",
        *consents, since, until,
    ]  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A daily rate: usual share, and the shares while a cause lasts."""

    touchpoint: str
    unit: str
    channel: str
    volume: int
    share: float
    bumps: Sequence[tuple[date, date, float]] = field(default=())


def series() -> list[Series]:
    face, fee, queue, sms = CAUSES
    shops = [
        Series(
            "queue",
            o,
            "branch",
            150,
            0.09,
            [(queue.first, queue.last, 0.46)] if o in queue.units else (),
        )
        for o in OUTLETS
    ]
    return [
        Series(
            "app-login",
            "DB",
            "app",
            42_000,
            0.012,
            [(face.first, face.last, 0.094), (sms.first, sms.last, 0.051)],
        ),
        Series("app-use", "DB", "app", 61_000, 0.006),
        Series("transfer", "OP", "app", 18_000, 0.004),
        Series("everyday-payment", "OP", "app", 95_000, 0.003),
        Series("card-bill", "CC", "hotline", 2_300, 0.031, [(fee.first, fee.last, 0.142)]),
        Series("hotline", "CS", "hotline", 5_200, 0.068, [(fee.first, fee.last, 0.09)]),
        Series("loan-apply", "LN", "branch", 180, 0.11),
        Series("complaint-desk", "CO", "hotline", 90, 0.07),
        *shops,
    ]


def measures_csv(rng: random.Random) -> bytes:
    rows: list[list[Any]] = [["touchpoint", "unit", "channel", "day", "numerator", "denominator"]]
    for one in series():
        for n in range(DAYS):
            day = FIRST + timedelta(days=n)
            closed = one.channel == "branch" and (day.weekday() == 6 or day in HOLIDAYS)
            if not closed:
                rows.append(measured(rng, one, day))
    rows.insert(500, cells("app-login|DB|app|2026-10-32|3|100"))
    rows.insert(900, cells("queue|BR2-01-1|branch|2026-10-18|0|0"))
    return delimited(rows).encode()


HOLIDAYS = {date(2026, 9, 25), date(2026, 9, 26), *(date(2026, 10, n) for n in range(1, 8))}


def measured(rng: random.Random, one: Series, day: date) -> list[Any]:
    share = next((s for first, last, s in one.bumps if first <= day <= last), one.share)
    whole = max(1, round(one.volume * rng.uniform(0.85, 1.15) * (0.7 if day.weekday() > 4 else 1)))
    part = min(whole, max(0, round(rng.gauss(whole * share, (whole * share) ** 0.5))))
    return [one.touchpoint, one.unit, one.channel, day.isoformat(), part, whole]


def journeys(rng: random.Random, customers: list[Customer]) -> bytes:
    places = [
        ("app-login", "app"), ("app-use", "app"), ("transfer", "app"), ("everyday-payment", "app"),
        ("card-bill", "app"), ("queue", "branch"), ("counter", "branch"), ("hotline", "hotline"),
        ("wealth-buy", "app"), ("loan-apply", "branch"), ("account-opening", "branch"),
    ]  # fmt: skip
    events = []
    for n in range(1500):
        touchpoint, channel = rng.choice(places)
        at = clock(rng, FIRST + timedelta(days=rng.randrange(DAYS)))
        who = rng.choice(customers)
        events.append({
            "event_id": f"JE-{n:05d}", "customer": who.number, "touchpoint": touchpoint,
            "channel": channel, "at": at.isoformat(), "outcome": outcome(rng, touchpoint, at, who),
        })  # fmt: skip
    events.sort(key=lambda e: e["at"])
    lines = [json.dumps(e, ensure_ascii=False) for e in out_of_order(rng, events)]
    lines.insert(300, '{"event_id": "JE-bad", "customer": "C10000037", "touchpoint": "queue"}')
    return ("\n".join(lines) + "\n").encode()


def outcome(rng: random.Random, touchpoint: str, at: datetime, who: Customer) -> str:
    """Done, failed or abandoned; causes make it worse while they last."""
    worse = any(
        c.touchpoint == touchpoint
        and c.first <= at.date() <= c.last
        and (not c.units or who.outlet in c.units)
        for c in CAUSES
    )
    return rng.choices(["done", "failed", "abandoned"], [5, 4, 2] if worse else [17, 2, 1])[0]


# Training examples


def training(rng: random.Random, bank: dict[str, list[Sentence]]) -> bytes:
    """At least 20 short texts per topic, about four in five Chinese, no text twice.

    Every sixth sentence is left out, so that the feedback holds words the model never saw.
    """
    lines = []
    for topic, every in bank.items():
        sentences = [s for n, s in enumerate(every) if n % 6 != 3]
        chinese = [s for s in sentences if s.mood.islower()]
        english = [s for s in sentences if s.mood.isupper()]
        for pool, count in ((chinese, 20), (english, 5)):
            lines += [{"text": t, "topic": topic} for t in variants(rng, pool, count)]
    rng.shuffle(lines)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def variants(rng: random.Random, pool: list[Sentence], count: int) -> list[str]:
    """Every sentence of the pool in turn, each time dressed otherwise."""
    found: dict[str, None] = {}
    for n in range(count * 20):
        if len(found) == count:
            break
        text = speak(rng, pool[n % len(pool)])
        for old, new in rng.sample(phrases.SAME_MEANING, 4):
            text = text.replace(old, new, 1)
        found[text] = None
    return list(found)


# What is hidden where


def readme(items: list[Item]) -> str:
    by_source = Counter(item.source for item in items)
    rows = [f"| {name} | `{name}{SUFFIX[name]}` | {by_source[name]} |" for name in SOURCES]
    causes = [cause_note(cause, items) for cause in CAUSES]
    return README.format(sources="\n".join(rows), causes="\n\n".join(causes), total=len(items))


def cause_note(cause: Cause, items: list[Item]) -> str:
    mine = [i for i in items if i.cause == cause.name]
    prefix = {"nps_survey": "NPS", "app_reviews": "AR", "hotline_calls": "HC", "complaints": "GD"}
    ids = sorted(f"{prefix[i.source]}-{i.id}" for i in mine if i.source in prefix)
    counts = Counter(i.source for i in mine)
    spread = ", ".join(f"{counts[s]} {s}" for s in SOURCES if counts[s])
    people = len({i.customer.number for i in mine if i.customer})
    units = f" · units {', '.join(cause.units)}" if cause.units else ""
    return (
        f"### {cause.name}\n\n{cause.story}\n\n"
        f"- topic `{cause.topic}` · touchpoint `{cause.touchpoint}`{units}\n"
        f"- {cause.first} to {cause.last} · {len(mine)} items of {people} customers ({spread})\n"
        f"- ids: {', '.join(ids)}"
    )


README = """# Sample data of the example bank · 示范银行样例数据

Ninety simulated days, 2026-08-24 to 2026-11-21, written by `tools/make_sample_feedback.py` from
our own sentences; run it again and every byte is the same. All people, numbers and events are made
up: phones begin with 1540000, mail addresses end in `.invalid`, card numbers begin with 622200.
全部内容由脚本按自写语句生成，人物、号码、事件均为虚构。

| source | file | generated items |
|---|---|---|
{sources}

{total} items, to which the writers add rows that say nothing or too little, exact repeats by
different people (app reviews) and rows that cannot be read. Besides: `customers.csv`
(260 customers, 13 of them with two snapshots), `measures.csv` (daily counts with
denominators), `journey_events.jsonl`.

## The mess in it · 数据中的“脏”

- Cannot be read, for the quarantine: 3 rows of `nps_survey`, 3 lines of `app_reviews`, 2 calls of
  `hotline_calls`, 3 rows of `complaints`, 2 rows of `branch_book`, 1 row of `customers`, 2 rows of
  `measures`, 1 line of `journey_events`.
- Corrected items with the same id: the last review and the last but one complaint.
- The same customer in two channels (18), follow-up complaints under the same case number (16),
  feedback about two things (22), late and out-of-order rows, missing fields, typos, emoji,
  full-width digits, phone, card and identity numbers that must be masked.

## Common causes hidden in it · 其中隐藏的共同原因

Each shows in time, topic and touchpoint, and in `measures.csv` at the same touchpoint. The ids
are those of items made for the cause and of their follow-ups; social posts and the comment book
have none.

{causes}
"""

if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:2]))
