"""Who may not handle a complaint: declared, named, or named by office; and nobody else."""

import pytest

from models.kinds import UnitLevel
from policy.conflict import BARRED, NAMED, OFFICE, conflict
from policy.organisation import Organisation, Person, Text, Unit

T = {"zh": "测试", "en": "Test"}
WANG = Person("br.wang", "王建国", "BR")
SMITH = Person("it.smith", "Ann Smith", "IT")
SHORT = Person("x", "王", "IT")
BANK = Organisation(
    organisation="t",
    title=T,
    zone="Asia/Shanghai",
    language="zh",
    units=(
        Unit("BR", UnitLevel.SUB_BRANCH, {"zh": "滨江支行", "en": "Binjiang"}, head="br.wang"),
        Unit("IT", UnitLevel.DEPARTMENT, {"zh": "科技部", "en": "Technology"}, head="it.smith"),
    ),
    people=(WANG, SMITH, SHORT),
)


@pytest.mark.parametrize(
    ("person", "words", "expected"),
    [
        (WANG, "你们的王建国态度极差", NAMED),
        (WANG, "王建、国庆都在排队", None),
        (WANG, "找 br.wang 没用", NAMED),
        (WANG, "找BR.WANG没用。", NAMED),
        (WANG, "br.wang.", NAMED),
        (WANG, "br.wang2 和 abr.wang，还有 br.wang.cn", None),
        (WANG, "滨江支行排队三个小时", None),
        (WANG, "滨江支行行长骂人", OFFICE),
        (WANG, "滨江支行的经理骂人", OFFICE),
        (WANG, "科技部负责人骂人", None),
        (SMITH, "ask ann smith about it", NAMED),
        (SMITH, "the Smiths and Ann Smithers", None),
        (SMITH, "the head of Technology was rude", OFFICE),
        (SMITH, "Technology's manager was rude", OFFICE),
        (SMITH, "your technology is bad, and the manager too", None),
        (SHORT, "王先生 x y", None),
        (SHORT, "", None),
    ],
)
def test_named_in_the_complaint(person: Person, words: str, expected: Text | None) -> None:
    assert conflict(person, BANK, ["又来了", words], ()) == expected


def test_declared_barred_comes_first() -> None:
    assert conflict(WANG, BANK, ["王建国"], {"br.wang"}) == BARRED
    assert conflict(WANG, BANK, [], {"it.smith"}) is None
