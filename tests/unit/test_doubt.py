"""Words that contradict the click: found where they do, and nearly never where they agree."""

import sys

import pytest

from console.simulation.words import ANSWERS
from models.kinds import Answer
from policy.doubt import contradicts

AGREE: dict[str, tuple[str, ...]] = {
    "yes": (
        "解决了，谢谢。",
        "可以了",
        "好了",
        "已经好了，谢谢你们",
        "没问题了",
        "没有问题了，辛苦",
        "问题没有再出现，满意",
        "没想到这么快就解决了",
        "之前一直登录不了，现在好了",
        "上次没解决，这次终于好了",
        "昨天还是打不开，今天已经正常了",
        "钱到账了，谢谢",
        "退款收到了",
        "解决了，但是太慢了",
        "解决是解决了，态度很差",
        "可以了，就是等了三天",
        "解决了，就是没人解释原因",
        "行，谢谢",
        "嗯，可以登录了",
        "解决得很好，工作人员很耐心",
        "已恢复正常，不再报错",
        "已处理，如果以后还有问题我再联系",
        "可以了，不行的话我再打电话",
        "弄好了，别再出现这种事了",
        "好的，没什么要补充的",
        "不用再联系我了，已经解决",
        "网点帮我办好了",
        "现在能用了，以前老是用不了，现在正常",
        "满意，服务没得说",
        "太气人了，拖了这么久才给我解决",
        "",
        "是的",
        "ok",
        "Yes, it works now. Thank you.",
        "Solved, thanks!",
        "All good now.",
        "It is fixed. Took far too long though.",
        "No more problems.",
        "No problem any more, thank you.",
        "The app no longer crashes.",
        "It did not work before, now it works.",
        "Yes. I was angry, but it is solved.",
        "Refund received, thanks.",
        "It used to fail every day and now it is fine.",
        "Thanks, I have nothing else to add.",
        "Fine. I will call if it happens again.",
        "Still can't believe how quickly you did it!",
        "Great help, the clerk was not rude at all.",
    ),
    "no": (
        "没有解决",
        "还是没解决",
        "还是老样子",
        "根本没人联系我",
        "没到账",
        "还是登录不了",
        "不行，还是报错",
        "什么时候能解决",
        "希望尽快解决",
        "你们说解决了，其实没有",
        "短信说退款到账了，账户里没有",
        "解决了吗？我这边还是一样",
        "问题依旧",
        "请尽快给我处理好",
        "完全没有用",
        "打了三次电话都没处理好",
        "好了两天又不行了",
        "等你们解决了再说吧",
        "不满意",
        "不能用",
        "钱还没退",
        "怎么可能就算解决了",
        "我要求书面答复",
        "",
        "No",
        "Not solved.",
        "No, it still happens.",
        "It has not been fixed.",
        "When will it be fixed?",
        "I want my money back.",
        "You said it was solved. It was not.",
        "Please get it fixed.",
        "Nobody called me.",
        "It doesn't work.",
        "It worked for a day and failed again.",
        "This is ridiculous.",
        "How can you call that resolved?",
        "I would be happy if it were fixed.",
    ),
    "partly": (
        "解决了一半，还有一笔没到账。",
        "能用了，但是没人解释原因。",
        "解决了，但手续费还没退",
        "登录好了，转账还是不行",
        "到账了，不过少了二十块",
        "可以了，只是慢",
        "退了一部分",
        "大部分解决了",
        "处理好了，可是没有道歉",
        "基本解决",
        "Fixed, but the fee is still missing.",
        "Half of it.",
        "The app works now, the card does not.",
        "Solved except for the letter you promised.",
        "Only some of the money came back.",
        "It works again sometimes.",
    ),
}
CONTRADICT: dict[str, tuple[str, ...]] = {
    "yes": (
        "还是没解决",
        "没有解决",
        "还是登录不了",
        "只退了一半，还有一笔没到账",
        "部分解决",
        "根本没人联系我",
        "还是老样子",
        "好了两天又不行了",
        "钱还没退给我",
        "还是报错",
        "完全没用",
        "你们哪里解决了",
        "其实没好",
        "问题未解决",
        "仍然收不到验证码",
        "没人处理",
        "还在等退款",
        "解决个什么呀",
        "依然打不开",
        "Partially.",
        "It is still not working.",
        "Not solved yet.",
        "It has not been fixed.",
        "It doesn't work.",
        "Only half of the money came back.",
        "I am still waiting for the refund.",
        "It happened again yesterday.",
        "Same problem as before.",
        "Nobody called me.",
        "They haven't really fixed it.",
    ),
    "no": (
        "已经解决了谢谢",
        "解决了，谢谢",
        "好了，已经可以用了",
        "退款收到了，谢谢",
        "没问题了",
        "可以登录了，谢谢",
        "已经恢复正常",
        "都好了",
        "很满意，谢谢工作人员",
        "搞定了",
        "It works now, thank you.",
        "All good, thanks.",
        "Solved, thank you very much.",
        "The problem is fixed.",
        "No more problems.",
        "I got my money, thanks.",
    ),
    "partly": (
        "已经全部解决了，谢谢",
        "都处理好了，非常满意",
        "没有问题了，谢谢",
        "Everything is fixed, thank you.",
        "All solved.",
    ),
}


# Written after the phrases, without looking at them.
LATER_AGREE: dict[str, tuple[str, ...]] = {
    "yes": (
        "问题处理完了，感谢",
        "办妥了，效率可以",
        "款项已经退还到卡里，谢谢小李",
        "登得进去了",
        "这事儿了结了，就是客服电话太难打",
        "我很生气，不过最终还是给我办了",
        "没啥说的，挺好",
        "之前说三天没人管，后来支行行长亲自来处理的，解决了",
        "密码重置成功",
        "对，没毛病",
        "Everything is in order, cheers.",
        "Took three calls, but my card works.",
        "Yes, nothing further needed.",
        "I could not log in last week. Since Monday I can.",
        "Money is back in the account.",
        "The branch manager called and sorted it out.",
        "Yes. Please don't send me more surveys.",
    ),
    "no": (
        "你们到底处理了没有",
        "等了半个月，什么结果都没有",
        "客服说已经解决，我看根本没动",
        "卡还是被冻着",
        "别再打电话敷衍我，先把钱退了",
        "页面照样转圈",
        "谁说解决了？",
        "我不接受这个处理结果",
        "The fee is still on my statement.",
        "I was promised a call back. None came.",
        "Your colleague said fixed; I see no change.",
        "It crashes every time.",
        "I do not agree with the outcome.",
    ),
    "partly": (
        "退了本金，利息没退",
        "大体好了，偶尔还卡",
        "手机端行，网银不行",
        "Card replaced, compensation pending.",
        "Better than before, not perfect.",
        "Two of the three transfers arrived.",
    ),
}
LATER_CONTRADICT: dict[str, tuple[str, ...]] = {
    "yes": (
        "钱一分没退",
        "到现在也没人给我回话，登录照样失败",
        "没修好，点错了",
        "问题依然存在",
        "仅仅退回一部分",
        "还是那样，用不了",
        "卡里依然没收到",
        "The app still crashes.",
        "I have not received the refund.",
        "It isn't resolved at all.",
        "Half of the amount is missing.",
        "They never fixed the login.",
    ),
    "no": (
        "昨天已经退到账了，谢谢",
        "问题解决了，辛苦各位",
        "全部恢复正常，非常感谢",
        "现在可以登录了",
        "Thanks, it is resolved.",
        "My card works again, thank you.",
        "Refund received, thanks a lot.",
    ),
}


def cases(table: dict[str, tuple[str, ...]]) -> list[tuple[Answer, str]]:
    return [(Answer(answer), words) for answer, said in table.items() for words in said]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer.YES, "还是没解决"),
        (Answer.YES, "partially"),
        (Answer.NO, "已经解决了谢谢"),
        (Answer.PARTLY, "All solved, thank you."),
    ],
)
def test_the_plainest_are_found(answer: Answer, words: str) -> None:
    assert contradicts(answer, words)


def test_doubt_is_rare_on_plain_answers_and_finds_the_others() -> None:
    """The table is our own; what it does not reach is printed by name."""
    plain, opposed = cases(AGREE), cases(CONTRADICT)
    false = [one for one in plain if contradicts(*one)]
    missed = [one for one in opposed if not contradicts(*one)]
    right = len(plain) + len(opposed) - len(false) - len(missed)
    sys.stdout.write(
        f"{right} of {len(plain) + len(opposed)} right; doubted {len(false)} of {len(plain)} plain"
        f" answers {false}; missed {len(missed)} of {len(opposed)} contradictions {missed}\n"
    )
    assert len(false) <= len(plain) * 0.02
    assert len(missed) <= len(opposed) * 0.1


def test_words_the_phrases_were_not_made_for() -> None:
    plain, opposed = cases(LATER_AGREE), cases(LATER_CONTRADICT)
    false = [one for one in plain if contradicts(*one)]
    missed = [one for one in opposed if not contradicts(*one)]
    sys.stdout.write(
        f"written later: doubted {len(false)} of {len(plain)} plain answers {false};"
        f" missed {len(missed)} of {len(opposed)} contradictions {missed}\n"
    )
    assert len(false) <= len(plain) * 0.05
    assert len(missed) <= len(opposed) * 0.4


@pytest.mark.parametrize(("answer", "words"), cases(ANSWERS))
def test_what_simulated_customers_say_is_plain(answer: Answer, words: str) -> None:
    assert not contradicts(answer, words)


def test_no_words_are_no_contradiction() -> None:
    assert not any(contradicts(answer, words) for answer in Answer for words in ("", "  ", "。"))
