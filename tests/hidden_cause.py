"""Four hundred complaints of eighteen weeks, one cause hidden in seven of the last twelve days.

Everyday trouble of a bank as the example's customers put it (`tools/sample_sentences.txt`, our own
writing), each said once or, as people do, with something before or after it; «闪退» and «垃圾»
again and again from different people; 330 customers over three channels and a dozen outlets. In
the midst of it a new batch of campus cards has chips that cannot be read. Seven people tell of it
on three channels and in two branches, each in their own words, and each about something else that
failed for it: cash, transfers, payment, the queue, the counter. All the time somebody speaks of
such a card for other reasons.
"""

import random
import re
from datetime import datetime, timedelta
from pathlib import Path

SENTENCES = Path(__file__).parents[1] / "tools" / "sample_sentences.txt"
DAYS = 126
"""Sixteen weeks before, and the two of the window."""
ALL, REPEATS = 400, 12
HIDDEN = [
    ("hotline", "BR1-01-1", "上个月换发的校园联名卡，柜员机吞了两回，说芯片读取失败"),
    ("hotline", "BR1-01-1", "孩子的新联名卡芯片不认，转账三天了还没到账，生活费都没了"),
    ("hotline", "BR2-02-1", "校园联名卡刚领就坏，芯片没反应，热线排队半小时打不进"),
    ("book", "BR1-01-1", "校园联名卡在食堂刷不了，机器提示芯片无效，来你们这排队排了一上午"),
    ("book", "BR2-02-1", "联名卡插进去没反应，芯片坏的吧？柜员还说是我们自己弄坏的，态度太差"),
    ("reviews", "", "新发的联名卡芯片有问题，绑定快捷支付一直报错"),
    ("reviews", "", "换了校园联名卡以后芯片感应不上，取款机不吐钱还扣款"),
]
"""Channel, outlet and words."""
BYSTANDERS = [
    "校园联名卡的年费说好免四年，怎么又扣了",
    "毕业了想注销校园联名卡，非要本人回学校那边的网点",
    "联名卡积分换不了东西，活动页打不开",
    "申请联名卡等了一个月，卡还没寄到",
    "校园联名卡转账限额太低，交个学费要分五天",
]
"""What is said of the same card all the time, for other reasons."""
BEFORE = ["", "", "", "", "真是服了，", "说个事，", "气死，", "已经反映过，", "麻烦看看，"]
AFTER = ["", "", "", "", "，太差了", "，请尽快处理", "，还有没有人管", "，投诉！", "。换别家算了"]
FILL = {"amount": (120, 9800), "days": (2, 20), "hours": (2, 9), "times": (2, 7)}
OUTLETS = ["BR1-01-1", "BR1-01-2", "BR1-02-1", "BR2-01-1", "BR2-02-1", "BR3-01-1", "BR3-02-2"]

Item = dict[str, str]


def four_hundred(end: datetime, seed: int = 1) -> dict[str, list[Item]]:
    """Channel -> its items in order of time: id, text, at, customer, unit; all before `end`."""
    chance = random.Random(seed)
    made = [(channel, unit, text, 12.0) for channel, unit, text in HIDDEN]
    plain = everyday(chance, ALL - len(HIDDEN) - len(BYSTANDERS) - 2 * REPEATS)
    made += [
        (*somewhere(chance), text, DAYS)
        for text in [*plain, *BYSTANDERS, *["闪退", "垃圾"] * REPEATS]
    ]
    people = [f"C{n:04}" for n in range(330)]
    chance.shuffle(people)
    who = people[: len(HIDDEN)] + chance.choices(people[len(HIDDEN) :], k=ALL - len(HIDDEN))
    items = []
    for number, ((channel, unit, text, span), customer) in enumerate(zip(made, who, strict=True)):
        at = end - timedelta(days=chance.uniform(0.1, span))
        item = {"id": f"H-{number:03}", "text": text, "at": at.isoformat(), "customer": customer}
        items.append((channel, item | ({"unit": unit} if unit else {})))
    items.sort(key=lambda one: one[1]["at"])
    channels = ("hotline", "book", "reviews")
    return {name: [item for channel, item in items if channel == name] for name in channels}


def hidden(items: dict[str, list[Item]]) -> set[str]:
    """Ids of the seven."""
    words = {text for _, _, text in HIDDEN}
    return {item["id"] for channel in items.values() for item in channel if item["text"] in words}


def somewhere(chance: random.Random) -> tuple[str, str]:
    channel = chance.choice(["hotline", "hotline", "book", "reviews"])
    return channel, "" if channel == "reviews" else chance.choice(OUTLETS)


def everyday(chance: random.Random, number: int) -> list[str]:
    """Complaints about everything, hardly two of them alike."""
    known = re.findall(r"^c (.+)$", SENTENCES.read_text("utf-8"), re.MULTILINE)
    said = chance.sample(known, min(number, len(known)))
    said += chance.choices(known, k=number - len(said))
    return [chance.choice(BEFORE) + fill(chance, s) + chance.choice(AFTER) for s in said]


def fill(chance: random.Random, sentence: str) -> str:
    def value(found: re.Match[str]) -> str:
        return str(chance.randint(*FILL.get(found[1], (1, 12))))

    return re.sub(r"\{(\w+)\}", value, sentence)
