"""What `mask` hides and what it must leave alone: tables, 1,000 fake persons, 10,000 orders."""

import random
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright.mask import SURNAMES, has_id_checksum, has_luhn_checksum, mask

# Every number, name and address here is invented; the valid id and cards are published examples.
MASKED = [
    ("手机13800138000，请回电", "手机138****8000，请回电"),
    ("打我138 0013 8000", "打我138****8000"),
    ("１３８００１３８０００", "138****8000"),
    ("幺三八零零幺三八零零零", "138****8000"),
    ("壹叁捌零零壹叁捌零零零", "138****8000"),
    ("①③⑧00138000", "138****8000"),
    ("138.0013.8000", "138****8000"),
    ("138，0013，8000", "138****8000"),
    ("1 3 8 0 0 1 3 8 0 0 0", "138****8000"),
    ("1３8\u200b0013\u200b8000", "138****8000"),
    ("(138)0013-8000", "(138****8000"),
    ("+86 138-0013-8000", "+86138****8000"),
    ("0086138 0013 8000", "0086138****8000"),
    ("tel13800138000", "tel138****8000"),
    ("订单的联系电话13800138000", "订单的联系电话138****8000"),
    ("余额 500 13800138000", "余额 500 138****8000"),
    ("+852 9123 4567", "+852****4567"),
    ("010-66595566", "010****5566"),
    ("(0755)8888 6666", "(0755****6666"),
    ("电话075588886666", "电话0755****6666"),
    ("座机：66595566", "座机：6***5566"),
    ("身份证11010519491231002X", "身份证110105********002X"),
    ("110105 19491231 002x", "110105********002X"),
    ("11010519491231002x，13800138000", "110105********002X，138****8000"),
    ("一一零一零五一九四九一二三一零零二X", "110105********002X"),
    ("110105194912310021", "110105********0021"),
    ("身份证号110105491231002", "身份证号110105*****1002"),
    ("6222 6002 6000 1072 444", "622260*********2444"),
    ("4111111111111111 123元", "411111******1111 123元"),
    ("卡号6222600260001072445", "卡号622260*********2445"),
    ("邮箱zhang.san@qq.com谢谢", "邮箱z***@qq.com谢谢"),
    ("zhang＠qq.com", "z***@qq.com"),
    ("zhang艾特qq点com", "z***@qq点com"),
    ("zhang at qq dot com", "z***@qq dot com"),
    ("护照E12345678", "护照E1****78"),
    ("passport no. EA1234567", "passport no. EA****67"),
    ("我的证件是G12345678", "我的证件是G1****78"),
    ("微信号zhangsan_88", "微信号zh****"),
    ("加我微信 zhang_san2", "加我微信 zh****"),
    ("QQ：12345678", "QQ：12****"),
    ("验证码是482913", "验证码是******"),
    ("验证码四八二九一三", "验证码******"),
    ("密码是abc123!", "密码是******"),
    ("密码:abcdef", "密码:******"),
    ("my password is hunter2", "my password is ******"),
    ("CVV 123", "CVV ******"),
    ("中山路123号5栋2单元502室", "中山路**号**栋**单元**室"),
    ("我叫张伟，卡丢了", "我叫张*，卡丢了"),
    ("我叫张伟我的卡丢了", "我叫张*我的卡丢了"),
    ("我是李小明的妻子", "我是李*的妻子"),
    ("姓名：欧阳明华", "姓名：欧阳*"),
    ("户名王芳，王芳的卡丢了", "户名王*，王*的卡丢了"),
    ("我叫古丽·阿依", "我叫古*"),
    ("张伟先生您好", "张*先生您好"),
    ("my name is John Smith and", "my name is J*** and"),
    ("my name is john", "my name is j***"),
    ("I am John Smith", "I am J***"),
    ("Mr. John Smith", "Mr. J***"),
]

KEPT = [
    "",
    "手机银行登录总是转圈",
    "打95588等了20分钟",
    "客服400-800-8888没人接",
    "拨打12378投诉",
    "转账50000元手续费25.50元",
    "转账1,380,013,800元",
    "2026-11-21 13:45:00",
    "2026年11月21日",
    "15-06-2026 100元",
    "1.3800138000",
    "139.196.112.34",
    "订单号13812345678",
    "流水2026112113800138000",
    "DD13800138000",
    "工单T261121-13800138",
    "019a1380-0138-7000-8abc-0123456789ab",
    "等了3天，第2次",
    "三一五晚会，一五一十",
    "我是高级客户",
    "我是金卡客户",
    "我是李小姐",
    "我是张先生",
    "张先生您好",
    "收钱时小姐不理人",
    "钱包和先生的手表丢了",
    "我叫了三次客服",
    "本人于2026年11月办卡",
    "持卡人王府井网点",
    "我知道11号还款",
    "密码输错了3次",
    "密码被锁了打95588",
    "验证码一直收不到等了10086秒",
    "验证码收到95588发的",
    "密码错误，扣了5000元",
    "my password reset failed",
    "My name is not on the list",
    "I am Chinese",
    "look at www.example.com",
    "微信支付500000元",
    "微信 iPhone版",
    "在大厅3号窗口2楼办理",
    "11路公交到网点",
]


@pytest.mark.parametrize(("text", "expected"), MASKED)
def test_masks(text: str, expected: str) -> None:
    assert mask(text) == expected


@pytest.mark.parametrize("text", KEPT)
def test_keeps(text: str) -> None:
    assert mask(text) is text or mask(text) == text


@pytest.mark.parametrize(
    ("number", "valid"),
    [("11010519491231002X", True), ("110105194912310021", False), ("110105194912310039", False)],
)
def test_id_checksum(number: str, valid: bool) -> None:
    assert has_id_checksum(number) is valid


@pytest.mark.parametrize(
    ("number", "valid"),
    [("6222600260001072444", True), ("4111111111111111", True), ("4111111111111112", False)],
)
def test_luhn(number: str, valid: bool) -> None:
    assert has_luhn_checksum(number) is valid


# 1,000 fake persons in 12 spellings

SPOKEN = str.maketrans("0123456789", "零幺二三四五六七八九")
WRITTEN = str.maketrans("0123456789", "〇一二三四五六七八九")
FORMAL = str.maketrans("0123456789", "零壹贰叁肆伍陆柒捌玖")
WIDE = str.maketrans("0123456789X", "０１２３４５６７８９Ｘ")


def in_groups(number: str, mark: str) -> str:
    sizes = {11: (3, 4, 4), 16: (4, 4, 4, 4), 18: (6, 8, 4), 19: (4, 4, 4, 4, 3)}[len(number)]
    pieces, at = [], 0
    for size in sizes:
        pieces.append(number[at : at + size])
        at += size
    return mark.join(pieces)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda n: n,
    "spaces": lambda n: in_groups(n, " "),
    "dashes": lambda n: in_groups(n, "-"),
    "long dashes": lambda n: in_groups(n, "—"),
    "full width": lambda n: n.translate(WIDE),
    "full-width spaces": lambda n: in_groups(n.translate(WIDE), "\u3000"),
    "spoken": lambda n: n.translate(SPOKEN),
    "written": lambda n: n.translate(WRITTEN),
    "formal": lambda n: n.translate(FORMAL),
    "spoken in groups": lambda n: in_groups(n.translate(SPOKEN), " "),
    "one by one": lambda n: " ".join(n),
    "zero width": lambda n: "\u200b".join(n),
}
SENTENCES = [
    "我的{}请尽快处理",
    "麻烦打{}，谢谢",
    "{}",
    "客户说{}，扣了500元",
    "反馈（{}）第2次了",
    "please use {} thanks",
]


def fake_mobile(rng: random.Random) -> str:
    return f"1{rng.choice('3456789')}{rng.randrange(10**9):09d}"


def fake_resident_id(rng: random.Random) -> str:
    born = date(1945, 1, 1) + timedelta(days=rng.randrange(24_000))
    body = f"{rng.choice(['110105', '310101', '440304', '510107'])}{born:%Y%m%d}"
    body += f"{rng.randrange(1000):03d}"
    return next(body + last for last in "0123456789X" if has_id_checksum(body + last))


def fake_card(rng: random.Random) -> str:
    length = rng.choice([16, 19])
    body = "62" + "".join(rng.choices("0123456789", k=length - 3))
    return next(body + last for last in "0123456789" if has_luhn_checksum(body + last))


def persons(count: int) -> Iterator[tuple[random.Random, list[str]]]:
    rng = random.Random(20261121)
    for _ in range(count):
        yield rng, [fake_mobile(rng), fake_resident_id(rng), fake_card(rng)]


def test_finds_fake_persons_in_every_spelling() -> None:
    shown = total = 0
    for rng, numbers in persons(1000):
        for spell in SPELLINGS.values():
            for number in numbers:
                written = spell(number)
                total += 1
                shown += written in mask(rng.choice(SENTENCES).format(written))
    assert total == 36_000
    assert shown / total <= 0.005, f"{shown} of {total} numbers were shown"


ANNOUNCED = [
    *("我叫{}，卡丢了", "我是{}，登录不了", "姓名：{}", "{}先生昨天来过", "我叫{}我的卡被吞了"),
    *("本人{}，要投诉", "户名{}", "持卡人{}的卡", "我的名字叫{}"),
]


def test_finds_announced_names() -> None:
    rng = random.Random(3)
    given = (
        "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华建文玲红玉兰志国海鹏宇浩然子涵欣怡思雨佳琪"
    )
    names = [
        rng.choice(SURNAMES) + "".join(rng.choices(given, k=rng.choice([1, 2])))
        for _ in range(3_000)
    ]
    shown = [name for name in names if name in mask(rng.choice(ANNOUNCED).format(name))]
    assert len(shown) <= 15, shown


def test_leaves_order_numbers_alone() -> None:
    rng = random.Random(7)

    def digits(count: int) -> str:
        return "".join(rng.choices("0123456789", k=count))

    day = "202611%02d"
    forms: list[Callable[[], str]] = [
        lambda: (day % rng.randint(1, 30)) + digits(8),
        lambda: (day % rng.randint(1, 30)) + digits(10),
        lambda: rng.choice(["DD", "SF", "T", "WO-", "CP"]) + digits(rng.randint(8, 14)),
        lambda: digits(rng.choice([8, 9, 10, 12, 13, 14, 20, 22])),
        lambda: "订单号" + digits(rng.randint(8, 20)),
        lambda: "流水号：" + digits(rng.randint(10, 20)),
        lambda: f"T{day % rng.randint(1, 30)}-{digits(4)}",
    ]
    texts = [f"查一下{rng.choice(forms)()}到哪了" for _ in range(10_000)]
    wrong = [text for text in texts if mask(text) != text]
    assert len(wrong) <= 50, wrong[:20]


@given(st.text())
def test_any_text_is_safe_and_stable_in_kind(text: str) -> None:
    assert isinstance(mask(text), str)


@given(st.text(alphabet="网点排队很慢希望改进xyz，。 "))
def test_text_without_hints_is_the_same_object(text: str) -> None:
    assert mask(text) is text


def test_a_text_of_many_names_stays_cheap() -> None:
    names = [f"王{chr(0x5000 + n // 90)}{chr(0x6000 + n)}" for n in range(4_000)]
    text = "".join(f"我叫{name}。" for name in names)
    started = time.process_time()
    masked = mask(text)
    assert time.process_time() - started < 2
    assert not any(name in masked for name in names)


@given(st.text(alphabet="0123456789 -.x一二零@a", max_size=120))
def test_no_whole_mobile_survives(text: str) -> None:
    around = f"甲{text}，手机13800138000。"
    assert "13800138000" not in mask(around)


@pytest.mark.parametrize(
    "seed",
    ["1 ", "a", "a.a", "a@", "@", "一", "我叫", "我叫王小明", "密码 ", "路1号", "王小明", "QQ"],
)
def test_is_linear_on_hostile_text(seed: str) -> None:
    def seconds(count: int) -> float:
        text = (seed * count)[:count]
        started = time.process_time()
        mask(text)
        return time.process_time() - started

    seconds(1_000)
    assert seconds(32_000) < 10 * seconds(8_000) + 0.05
