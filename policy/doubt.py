"""Do a customer's words contradict the answer that was ticked? Then a person must settle it.

Words contradict a yes when they say that something is not solved, and a no or partly when they say
that it is, without an if or a but. How angry somebody sounds is no contradiction: many write
«solved, and far too late», so the classifier's reading of feeling has no say here. The phrases are
few and plain, so that a doubt is rare where words and answer agree; the table they are measured by
is `tests/unit/test_doubt.py`.
"""

from functools import cache

from models.kinds import Answer
from policy.patterns import WordIndex, compile_words
from policy.taxonomy import Words


def contradicts(answer: Answer, words: str) -> bool:
    """Whether the words, Chinese or English, say the opposite of the answer."""
    found = phrases().match(words)
    unsolved, solved = 0 in found, 1 in found
    return unsolved if answer is Answer.YES else solved and not unsolved


@cache
def phrases() -> WordIndex:
    return compile_words([("unsolved", UNSOLVED), ("solved", SOLVED)])


def _any(*words: str) -> str:
    return f"({'|'.join(words)})"


_NEAR = "[^，。；！？,.;!?]"
"""Within the same part of a sentence."""
_DONE = _any(
    *(
        "解决",
        "处理",
        "到账",
        "退款",
        "退钱",
        "退回",
        "退给",
        "修好",
        "修复",
        "恢复",
        "弄好",
        "办好",
    ),
    *("办成", "办完", "办妥", "搞定", "好转", "改善", "收到"),
)
_WELL = _any(
    *(
        "好了",
        "可以",
        "行了",
        "解决",
        "到账",
        "收到",
        "恢复",
        "正常",
        "能用",
        "能登",
        "搞定",
        "满意",
    ),
)
_ENDED = _any("解决", "处理好", "到账", "修好", "恢复", "可以了", "办好", "好了", "收到")
_ONCE = _any(
    *(
        "之前",
        "以前",
        "原来",
        "原先",
        "上次",
        "昨天",
        "前几天",
        "当时",
        "起初",
        "开始",
        "本来",
        "先前",
    ),
)
_TODAY = _any("现在", "今天", "终于", "这次", "后来", "刚刚", "已经", "如今")
_REALLY = r"((been|yet|fully|really|completely|entirely|actually|properly|even)\s+)*"
_FIXED = _any(
    *("solved?", "resolved?", "fixed", "fix", "sorted?", "working", "works?", "done", "repaired"),
    *("refunded", "credited", "helped", "help", "arrived?", "received?"),
)
_FINE = _any("solved", "fixed", "resolved", "good", "fine", "works?", "working", "received", "got")
_NOT = _any("not", "never", "hardly", "nothing", "nobody", "none", "isnt", "wasnt", "cannot")
_WISH = _any(
    *("want", "needs?", "please", "should", "must", "ha(ve|s) to", "to be", "get it", "will"),
    *("would", "could", "can", "how", "sa(id|ys?)", "claim(s|ed)?", "told", "supposed", "expect"),
    *("hope", "waiting"),
)

UNSOLVED = Words(
    zh=(
        *("老样子", "没人联系", "没人处理", "没人管", "没人理", "没有人联系", "没有人处理"),
        *("不管用", "不好使", "部分解决", "治标不治本", "还没好", "仍有问题", "还有问题"),
        *("一点用都没有", "没什么用", "解决不了", "敷衍", "还在等"),
    ),
    en=(
        *("partially", "partly", "unresolved", "unsolved", "only half", "half of it", "useless"),
        *("same problem", "same issue", "came back", "made it worse", "no improvement", "no use"),
        *("nobody called", "nobody contacted", "no one called", "no one contacted"),
        *("still waiting", "still broken", "still failing", "still wrong", "still missing"),
        *("still open", "still there", "still fails", "still happens", "still the same"),
    ),
    patterns=(
        rf"[没未](有|能|被|给|见)?(完全|真正|彻底|全部|得到|我)?{_DONE}",
        rf"(还是|仍然?|仍旧|依[然旧]|照样){_NEAR}{{0,8}}(不[了行能上到开]|失败|报错|出错|没|有问题)",
        r"还(不行|不能|没有?(用|退|解决|到|人)|差|欠)",
        rf"还[有剩]{_NEAR}{{0,8}}[没未]",
        rf"[只才仅](解决|退|到|处理|改|收到)了?{_NEAR}{{0,4}}(一半|部分|一点|一笔)",
        r"又(出现|坏|不行|不能|报错|失败|扣|登不上|用不了|出问题|多收|这样)",
        r"(根本|完全|压根|其实)[没不未]",
        r"[登打用收转连付]不(了|上|到|开)",
        r"哪[里儿]?(解决|处理)|(解决|处理)个",
        rf"(\b(not|never|hardly)|n't)\s+{_REALLY}{_FIXED}\b",
        r"\bstill\s+(not?|can'?t|cannot|does|did|is|isn't|won't|ha(s|ve)|haven't|hasn't|gets?|"
        r"getting|an?\s+(issue|problem))\b",
        r"\b(happened|failed|broke|charged|crashed)(\s+me)?\s+again\b",
        r"\bonly\s+(solved|fixed|part|some|one|half)\b",
    ),
    unless=(
        rf"{_ONCE}[^。！？!?]{{0,30}}{_TODAY}[^。！？!?没不未]{{0,10}}{_WELL}",
        r"(如果|要是|万一|倘若|以后|下次)[^。！？]{0,12}[又还再不没]",
        r"(不行|没好|没解决)的话",
        r"\b(before|earlier|previously|last time|at first|yesterday|used to)\b.{0,60}"
        rf"\b(now|finally|today|this time|since)\b.{{0,30}}\b({_FINE}|ok|okay|sorted|arrived)\b",
        r"\b(no longer|not any ?more|any ?more|any longer)\b",
        r"\bif\b.{0,30}\b(again|comes back|came back|not)\b",
        r"\bstill (can'?t|cannot) believe\b",
    ),
)
"""Something is not solved, or came back. Not: what was so before and is well now, or what would be
if it came back."""

SOLVED = Words(
    zh=(
        *("解决了", "处理好了", "办好了", "修好了", "弄好了", "搞定了", "恢复了", "恢复正常"),
        *("没问题了", "没有问题了", "已解决", "已经解决", "已经好了", "已恢复", "到账了"),
        *("收到退款", "退款收到", "都好了", "全好了", "可以登录了", "可以用了", "可以了"),
        *("非常满意", "很满意"),
    ),
    en=(
        *("works now", "works again", "works fine", "working now", "working again"),
        *("working fine", "all good", "all fine", "fine now", "ok now", "okay now", "solved"),
        *("fixed", "resolved", "no more problems", "got my money", "got the refund"),
        *("received the refund",),
    ),
    unless=(
        r"但|可是|不过|只是|却|虽[然说]|一半|部分|一点|除了|还[有差是]|仍",
        r"[吗么嘛呢没](有)?[。！!]*$|[？?]",
        rf"[不没未别]{_NEAR}{{0,3}}({_ENDED}|满意|可以)",
        rf"(说|称|显示|以为|告诉|回复|写着|通知|短信){_NEAR}{{0,12}}{_ENDED}",
        rf"(能|会|才|要|怎么|何时|什么时候|几时|如果|等|希望|请|尽快|赶快|快点|麻烦|必须|应该|算)"
        rf"{_NEAR}{{0,8}}{_ENDED}",
        r"\b(but|however|only|except|although|though|half|part|partly|partially|some|still|again|"
        r"yet|almost|unless|until|once|when|if)\b",
        rf"(n't|\b{_NOT})\b.{{0,30}}\b{_FINE}\b",
        rf"\b{_WISH}\b.{{0,30}}\b{_FINE}\b",
    ),
)
"""It is solved, without an if, a but, a question or a wish."""
