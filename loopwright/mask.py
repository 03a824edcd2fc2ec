"""Personal data out of free text: what may a message, log line or export show?

Phones, resident ids, bank cards, mail addresses, passports, WeChat and QQ ids, codes and passwords,
house numbers and names, as customers write and speak them in Chinese and English. When in doubt it
masks. Numbers that identify nobody (amounts, dates, order numbers, 95588) survive.

1. Fold, character by character so that positions stay: NFKC, then Chinese numerals to digits.
2. Cut digits into groups at spaces, dashes and dots; try runs of groups, longest first.
3. Recognise by length, prefix, checksum and the words beside it; replace in the original text.
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple


class Span(NamedTuple):
    start: int
    end: int
    masked: str


class _Nfkc(dict[int, int]):
    """`str.translate` table that folds one character to one, filled as characters are met."""

    def __missing__(self, code: int) -> int:
        folded = unicodedata.normalize("NFKC", chr(code))
        self[code] = ord(folded) if len(folded) == 1 else code
        return self[code]


NFKC = _Nfkc()
SPOKEN_DIGITS = "零〇○洞一幺壹二两贰貳三叁參四肆五伍六陆陸七柒拐八捌九玖勾"
NUMERALS = str.maketrans(SPOKEN_DIGITS, "00001112222333445566677788999")
HAN = "\u4e00-\u9fff"
SEPARATOR = r"[\s\-‐‑‒–—―~_·•.,、/()\u00ad\u200b-\u200f\u2060\ufeff]"
RUN = re.compile(rf"[0-9](?:{SEPARATOR}{{0,3}}(?:[0-9]|[xX](?![A-Za-z])))*")
GROUP = re.compile(r"[0-9]+[xX]?|[xX]")

# Three quick looks decide whether a text needs any work; each begins with plain characters only,
# which the engine skips to at some ten nanoseconds a character.
FIGURE = re.compile(r"[\d⁰¹²³⁴-⁹₀-₉①-⑨@＠]")
SPOKEN = re.compile(rf"[{SPOKEN_DIGITS}](?:\W{{0,3}}[{SPOKEN_DIGITS}]){{3}}")
LABEL = re.compile(
    r"我叫|我是|名字|名叫|姓名|户名|本人|持卡人|收款人|付款人|联系人|开户人|经办人|投诉人|机主|先生|女士|小姐|太太"
    r"|密码|口令|艾特|微信|薇信|V信|v信|VX|vx|wx|WX|WeC|Wec|wec|weC|Weix|weix|WEC|Name|name|NAME"
    r"|I am|I'm|i am|i'm|Mr|Ms|Miss| at |\(at\)|\[at\]"
)

ORDER = re.compile(
    r"(?:订单|运单|快递|单号|流水|交易号|编号|工单|凭证|参考号|业务号|受理号|合同|批次"
    r"|\border|\bref|\bticket|\btransaction|\btracking|\bcase)([^0-9,。;!?]{0,8})$",
    re.I,
)
CONTACT = re.compile(
    r"电话|手机|座机|固话|致电|拨打|联系|号码|传真|tel|phone|mobile|call|fax", re.I
)
DIRECT = re.compile(r"(?:电话|座机|固话|传真|tel|phone|fax)[\s:是为.]{0,3}$", re.I)
CARD_WORD = re.compile(r"卡|账[号户]|帐[号户]|card|account", re.I)
ID_WORD = re.compile(r"身份证|证件|id ?card|\bid\b", re.I)
TOKEN = re.compile(r"[A-Za-z0-9_]+$")

PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")
MOBILE = re.compile(r"(0086|86|0)?(1[3-9][0-9]{9})")
MOBILE_SHAPES = {(3, 4, 4), (3, 3, 5), (4, 3, 4), (4, 4, 3), (3, 8), (7, 4)}
BIN = re.compile(
    r"62[0-9]{14,17}|4[0-9]{15}|5[1-5][0-9]{14}|(?:436742|9558[08]|95599|60138)[0-9]{10,14}"
)
DATED = re.compile(r"20[0-4][0-9](?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
# Of all the runs of groups tried, most are nothing: one look tells.
PLAUSIBLE = re.compile(
    r"(?:0086|86|0)?1[3-9][0-9]{9}|[0-9]{14,18}[0-9X]|(?:86)?0[0-9]{9,11}|[2-8][0-9]{6,7}"
)
LANDLINE = re.compile(r"(86)?(0(?:10|2[0-9]|[3-9][0-9]{2}))([2-8][0-9]{6,7})")


def mask(text: str) -> str:
    """`text` with personal data masked; the same object when there is nothing to mask.

    Linear in the length of the text. Positions are those of the original, so everything that is
    not personal stays exactly as written, full-width forms and Chinese numerals included.
    """
    has_figures = FIGURE.search(text) or SPOKEN.search(text)
    has_labels = LABEL.search(text)
    if not has_figures and not has_labels:
        return text
    plain = text.translate(NFKC)
    digits = plain.translate(NUMERALS)
    spans = [*_mails(plain), *_secrets(digits), *_accounts(digits)]
    if has_figures:
        spans += [*_passports(digits), *_numbers(digits), *_houses(digits)]
    if has_labels:
        spans += _names(plain)
    return _replace(text, spans) if spans else text


def _replace(text: str, spans: list[Span]) -> str:
    """Earlier spans win; of two that begin together, the longer."""
    pieces, at = [], 0
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if span.start >= at:
            pieces += [text[at : span.start], span.masked]
            at = span.end
    return "".join(pieces) + text[at:]


# Numbers


def _numbers(text: str) -> Iterator[Span]:
    for run in RUN.finditer(text):
        if run.end() - run.start() >= 7:
            groups = [g.span() for g in GROUP.finditer(text, run.start(), run.end())]
            yield from _in_groups(text, groups)


def _in_groups(text: str, groups: list[tuple[int, int]]) -> Iterator[Span]:
    first = 0
    while first < len(groups):
        for last in range(_reach(groups, first), first, -1):
            masked = _recognise(text, groups[first:last])
            if masked:
                yield Span(groups[first][0], groups[last - 1][1], masked)
                first = last
                break
        else:
            first += 1


def _reach(groups: list[tuple[int, int]], first: int) -> int:
    """One past the last group such that the digits from `first` on are at most 19."""
    size, last = 0, first
    while last < len(groups) and size + groups[last][1] - groups[last][0] <= 19:
        size += groups[last][1] - groups[last][0]
        last += 1
    return last


class _Candidate(NamedTuple):
    """A number as it may be meant: its digits, how they were grouped, what stands around it."""

    number: str
    sizes: tuple[int, ...]
    inside: str
    before: str
    after: str

    @property
    def is_order(self) -> bool:
        label = ORDER.search(self.before)
        return label is not None and not CONTACT.search(label[1]) and not CARD_WORD.search(label[1])

    @property
    def has_code_prefix(self) -> bool:
        """Glued to an upper-case or mixed token such as `DD` or `019a`: part of a longer code."""
        token = TOKEN.search(self.before)
        if token is None:
            return False
        word = token[0]
        known = word.lower() in {"tel", "phone", "mobile", "vip", "wx", "vx", "qq", "id", "no"}
        return not word.isalpha() or (word.isupper() and not known)

    @property
    def is_even(self) -> bool:
        """Written in one go, in fours, or digit by digit: as people write one number."""
        return len(self.sizes) == 1 or set(self.sizes[:-1]) in ({4}, {1}, {6}, {8})


def _recognise(text: str, groups: list[tuple[int, int]]) -> str | None:
    start, end = groups[0][0], groups[-1][1]
    number = "".join(text[a:b] for a, b in groups).upper()
    if not PLAUSIBLE.fullmatch(number) and text[start - 1 : start] != "+":
        return None
    candidate = _Candidate(
        number,
        tuple(b - a for a, b in groups),
        text[start:end],
        text[max(0, start - 16) : start],
        text[end : end + 6],
    )
    if number.isdigit():
        return (
            _resident_id(candidate)
            or _mobile(candidate)
            or _card(candidate)
            or _landline(candidate)
            or _foreign(candidate)
        )
    return _resident_id(candidate)


def _keep(number: str, head: int, tail: int) -> str:
    return number[:head] + "*" * (len(number) - head - tail) + number[-tail:]


def _resident_id(c: _Candidate) -> str | None:
    """GB 11643: province, birth date, mod 11-2. A wrong check digit is still somebody's id."""
    number = c.number
    if len(number) not in (15, 18) or not number[:-1].isdigit():
        return None
    if ID_WORD.search(c.before):
        return _keep(number, 6, 4)
    if len(number) == 15 or not PROVINCE.match(number) or not _is_date(number[6:14]):
        return None
    doubtful = number[6:10] < "2010" and not c.is_order and not c.has_code_prefix
    return _keep(number, 6, 4) if has_id_checksum(number) or doubtful else None


def _is_date(digits: str) -> bool:
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return born.year >= 1900


def has_id_checksum(number: str) -> bool:
    """Mod 11-2 over 18 characters, the last 0-9 or X."""
    total = sum(int(digit) * pow(2, 17 - n, 11) for n, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17]


def has_luhn_checksum(number: str) -> bool:
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (doubled + sum(map(int, number[-1::-2]))) % 10 == 0


def _mobile(c: _Candidate) -> str | None:
    found = MOBILE.fullmatch(c.number)
    if not found or c.is_order or c.has_code_prefix or not _is_phone_shape(c, found[1] or ""):
        return None
    return f"{found[1] or ''}{found[2][:3]}****{found[2][-4:]}"


def _is_phone_shape(c: _Candidate, prefix: str) -> bool:
    """Not a date beside a number (15-06-2026 100), an amount (13,800,…) or an IP address."""
    sizes = c.sizes[1:] if prefix and c.sizes[0] == len(prefix) else c.sizes
    if len(sizes) == 1 or max(sizes) <= 2:
        return True
    if any(mark in c.inside for mark in ".,、/"):
        return sizes in MOBILE_SHAPES
    return sizes[0] != 2


def _card(c: _Candidate) -> str | None:
    """Known prefix and Luhn; beside a word such as 卡 any number of a card's length."""
    if not 15 <= len(c.number) <= 19 or c.is_order or c.has_code_prefix:
        return None
    known = BIN.fullmatch(c.number) and has_luhn_checksum(c.number)
    near = CARD_WORD.search(c.before) or CARD_WORD.search(c.after)
    doubtful = near and c.is_even and not DATED.match(c.number)
    return _keep(c.number, 6, 4) if known or doubtful else None


def _landline(c: _Candidate) -> str | None:
    contact = CONTACT.search(c.before)
    if len(c.number) in (7, 8) and c.number[0] in "2345678" and DIRECT.search(c.before):
        return c.number[:1] + "***" + c.number[-4:]
    found = LANDLINE.fullmatch(c.number)
    if not found or c.is_order or c.has_code_prefix:
        return None
    split = c.sizes[0] in (len(found[2]), 2) and len(c.sizes) > 1
    if split or contact or (len(found[2]) == 3 and len(found[3]) == 8):
        return f"{found[2]}****{found[3][-4:]}"
    return None


def _foreign(c: _Candidate) -> str | None:
    if 8 <= len(c.number) <= 15 and c.before.endswith("+"):
        return f"{c.number[:3]}****{c.number[-4:]}"
    return None


# Words that announce a value

MAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])([A-Za-z0-9._%+-]+)\s?(?:@|艾特|\(at\)|\[at\])\s?"
    r"([A-Za-z0-9-]+(?:\s?(?:\.|点|\(dot\)|\[dot\])\s?[A-Za-z0-9-]+)+)"
)
SPOKEN_MAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])([A-Za-z0-9._%+-]+) at ([A-Za-z0-9-]+(?: dot [A-Za-z0-9-]+)+)", re.I
)


def _mails(text: str) -> Iterator[Span]:
    for pattern in (MAIL, SPOKEN_MAIL):
        for found in pattern.finditer(text):
            yield Span(*found.span(), f"{found[1][0]}***@{found[2]}")


SERVICE = r"(?:95[0-9]{3}|955[0-9]{2}|100[0-9]{2}|1069[0-9]*|12[0-9]{3})(?![0-9])"
UNIT = r"(?!\s?(?:[元块万千百年月日号次笔秒分天个人位条遍]|小时|yuan|rmb|times))"
SECRET = re.compile(
    r"(?:验证码|校验码|动态码|短信码|安全码|密码|口令|cvv2?|cvc2?|\bpin\b|\botp\b"
    r"|pass(?:word|code|wd)|(?:verification|security) code)"
    r"(?:[^0-9A-Za-z,.;!?。¥$]{0,7}|\s?(?:is|was|code|number)?\s?[:=]?\s?)"
    rf"(?!{SERVICE})(?=[A-Za-z!@#$%^&*_+=-]{{0,31}}[0-9])"
    rf"([A-Za-z0-9!@#$%^&*_+=-]{{3,32}}+){UNIT}(?![.][0-9])",
    re.I,
)
WORD_SECRET = re.compile(r"(?:密码|口令)[是为:=]\s?([A-Za-z!@#$%^&*_+=-]{4,32}+)")
QQ = re.compile(
    rf"(?<![A-Za-z])(?:qq|扣扣)(?:号码?|[账帐]号)?[\s:是为=]{{0,3}}([1-9][0-9]{{4,11}}+){UNIT}(?![0-9])",
    re.I,
)
WECHAT = re.compile(
    r"(?<![A-Za-z])(?:微信|薇信|wechat|weixin|vx|wx|v信)(号码?|[账帐]号|\s?id)?[\s:是为=]{0,3}"
    r"([A-Za-z][A-Za-z0-9_-]{5,19}+)(?![A-Za-z0-9_-])",
    re.I,
)
PASSPORT = re.compile(
    r"(?:护照|通行证|passport)(?:[^0-9A-Za-z,.;!?。]{0,4}|\s?(?:no\.?|number)?\s?(?:is|:)?\s?)"
    r"([A-Za-z]{0,2}[ -]?[0-9](?:[ -]?[0-9]){5,9})(?![0-9])"
    r"|(?<![A-Za-z0-9_-])((?:[EG][0-9]|E[A-HJ-NP-Z])[0-9]{7})(?![A-Za-z0-9_-])",
    re.I,
)


def _secrets(text: str) -> Iterator[Span]:
    for pattern in (SECRET, WORD_SECRET):
        for found in pattern.finditer(text):
            if len(found[1]) > 3 or found[0][0] in "cC":
                yield Span(*found.span(1), "******")


def _accounts(text: str) -> Iterator[Span]:
    for found in QQ.finditer(text):
        yield Span(*found.span(1), found[1][:2] + "****")
    for found in WECHAT.finditer(text):
        if found[1] or re.search(r"[0-9_-]", found[2]):
            yield Span(*found.span(2), found[2][:2] + "****")


def _passports(text: str) -> Iterator[Span]:
    for found in PASSPORT.finditer(text):
        which = 1 if found[1] else 2
        if which == 1 or not ORDER.search(text[max(0, found.start() - 16) : found.start()]):
            yield Span(*found.span(which), found[which][:2] + "****" + found[which][-2:])


HOUSE = re.compile(
    r"(?:(?<![网线思电销出])路|[街巷弄村苑]|大道|胡同|小区|花园|公寓)\s?"
    r"([0-9]{1,5}(?:-[0-9]{1,5})?\s?(?:号楼|号院|号|弄|栋|幢|座)"
    r"(?:\s?[0-9]{1,5}(?:-[0-9]{1,5})?\s?(?:号楼|号|栋|幢|座|单元|层|楼|室|房|户)){0,5}"
    r"(?:\s?[0-9]{3,4}(?![0-9元块]))?)"
)


def _houses(text: str) -> Iterator[Span]:
    for found in HOUSE.finditer(text):
        yield Span(*found.span(1), re.sub(r"[0-9]+(?:-[0-9]+)?", "**", found[1]))


# Names

SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余杜叶程魏苏吕丁任"
    "卢姚沈钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫雷龙史陶贺毛段郝顾龚邵万覃武钱戴严莫孔"
    "汤常温康施牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟申欧殷詹耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕"
    "单裴霍成苗谷盛曲翁冉蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳穆农司卓古吉缪简车项连芦麦褚娄窦"
    "岑景党宫费卜冷晏席卫柏宗瞿全佟应臧闵苟邬边卞姬郎洪涂楼池阎仇储隋"
)
DOUBLE_SURNAMES = (
    "欧阳|司马|上官|诸葛|司徒|夏侯|皇甫|尉迟|公孙|慕容|令狐|东方|南宫|端木|轩辕|独孤|长孙"
)
TITLES = "先生|女士|小姐|太太"
# Words that begin like a name; after 我是 or 本人 they are more likely than the name.
NOT_A_NAME = re.compile(
    r"高[级端中三管龄新度]|金[卡融葵牌]|白[金领银天]|钻石|黄[金牌]|安[徽全卓]|常[年州常]|江[苏西]|万[分事科]"
    r"|云南|温州|许多|任[何职]|周[一二三四五六日末]|时候|全[部职款额家]|华[夏为]|农[民行业村]|单[位身独]|公[司务]"
    r"|党员|宁[波夏]|左右|牛[年市]|平[安时]|包[括商]|程序|何[时必况人种]|施工|林业|陈述|杜绝|马[上来]|项目|关[于注]"
    r"|曾经|应[该当届]|方[便面]|成[都为功年]|连[续接]|房[贷东主子]|车[贷主险]|管[理户]|简单|路[过人]|游[客戏]|解[决除]"
    r"|严[重格]|莫名|武汉|石[家油]|上[海周次]|东方|南宫|程度|龙卡|易[付宝]|边[远境]|洪水|储[户蓄]|尚未|符合|康[复乐]|舒[服适]"
    r"|顾客|甘肃|古董|吉林|司机|章程|阳[光台]|夏[天季]|童[年装]|胡[乱同]|苗条|田[地间]|冷[静漠]|蒙[受在]|兰州|柳州"
    r"|卫[生浴]|郑[州重]|沈阳"
)
AFTER_NAME = frozenset(
    "我的在是有想要和手电身卡住从来被不没也都就今昨前去到给把对办用因这那请于你他她已刚"
)
GIVEN = f"[{HAN}]"
SURNAME = f"(?:{DOUBLE_SURNAMES}|[{SURNAMES}])"
NAMED = re.compile(
    r"(?:(我叫做?|我的名字[是叫]|名字[是叫:]|姓名[:是为]?|名叫|(?<!客)户名(?!单)[:是为]?)"
    r"|(?:持卡人|收款人|付款人|联系人|开户人|经办人|投诉人|机主|本人|我是)(?:姓名)?[:是为叫]?)"
    rf"\s?((?P<surname>{SURNAME}){GIVEN}{{1,2}})"
)
FOREIGN_NAME = re.compile(
    rf"(?:我叫|名叫|姓名[:是]?|(?<!客)户名[:是]?|名字[是叫:])\s?([{HAN}]{{1,8}}·[{HAN}]{{1,12}})"
)
SALUTED = re.compile(
    rf"((?P<surname>(?![于向和应任成连时]){SURNAME})"
    rf"(?:(?![和跟与给对向时的是有让请叫]){GIVEN}){{1,2}}?)(?={TITLES})"
)
ENGLISH_NAME = re.compile(
    r"(?:[Mm]y (?:full )?name(?:'s| is)|\b[Nn]ame ?:)\s+"
    r"(?!(?:not?|on|in|is|wrong|spelled|misspelled|missing|correct|incorrect|listed|still|already"
    r"|being|under|the|an?|different|changed|shown|never)\b)([A-Za-z][A-Za-z'-]*(?:\s[A-Z][A-Za-z'-]*){0,2})"
    r"|\b(?:[Ii] am|[Ii]'m|M(?:r|rs|s|iss)\.?)\s([A-Z][a-z'-]+(?:\s[A-Z][a-z'-]+){1,2})"
)


def _names(text: str) -> Iterator[Span]:
    """Full names where they are announced, and wherever the text repeats one of them."""
    repeated: dict[str, str] = {}
    for span, name in _announced(text):
        yield span
        # Each name costs a pass over the text, so a text of nothing but names stays cheap.
        if len(repeated) < 20:
            repeated[name] = span.masked
    for name, masked in repeated.items():
        for again in re.finditer(re.escape(name), text):
            yield Span(*again.span(), masked)


def _announced(text: str) -> Iterator[tuple[Span, str]]:
    for found in NAMED.finditer(text):
        name = _given_name(text, found)
        if name:
            start = found.start(2)
            yield Span(start, start + len(name), found["surname"] + "*"), name
    for found in SALUTED.finditer(text):
        if not NOT_A_NAME.match(found[1]):
            yield Span(*found.span(1), found["surname"] + "*"), found[1]
    for found in FOREIGN_NAME.finditer(text):
        yield Span(*found.span(1), found[1][0] + "*"), found[1]
    for found in ENGLISH_NAME.finditer(text):
        which = 1 if found[1] else 2
        yield Span(*found.span(which), found[which][0] + "***"), found[which]


def _given_name(text: str, found: re.Match[str]) -> str | None:
    """The name without the word that follows it, or None when it is no name at all.

    After a weak announcement (我是, 本人) the name must end at a border or before a word that
    follows names.
    """
    name, strong = found[2], found[1]
    if NOT_A_NAME.match(name) or re.match(TITLES, name[len(found["surname"]) :]):
        return None
    end = found.end(2)
    cut = len(name) - len(found["surname"]) == 2 and (
        name[-1] in AFTER_NAME or re.match(TITLES, text[end - 1 : end + 1])
    )
    if cut:
        return name[:-1]
    follower = text[end : end + 1]
    is_border = not re.match(f"[{HAN}]", follower) or follower in AFTER_NAME
    return name if strong or is_border or re.match(TITLES, text[end : end + 2]) else None
