"""What `doctor` says: which robots reach whom, and what customers may be sent."""

import pytest
from pydantic import SecretStr

from console.commands.doctor import check_robots, check_templates
from loopwright.errors import EnvironmentFault
from tasks.approval.documents import approve_template
from tasks.documents.publish import publish
from tasks.workspace import Workspace
from tests.cast import NOON, OPS, documents
from tests.integration.test_approvals import CHIEF, REAL
from tests.integration.test_wecom_robot import with_robots


@pytest.fixture
def house(ws: Workspace) -> Workspace:
    """Three units name a robot: HO house, DB dept-db, CC dept-cc."""
    publish(ws.db, with_robots(), OPS, NOON)
    return ws


def robots(ws: Workspace) -> str:
    return check_robots(ws.settings)


def set_keys(ws: Workspace, *names: str) -> None:
    ws.settings.wecom.robots = {name: SecretStr(f"key-of-{name}") for name in names}


def test_robots_for_everything_reach_every_unit(house: Workspace) -> None:
    """Keys are named as the environment can write them."""
    house.settings.messages.transport = "wecom_robot"
    set_keys(house, "HOUSE", "DEPT_DB", "dept_cc")
    assert robots(house) == "3 WeCom robots, every unit leads to one"


@pytest.mark.parametrize(
    ("keys", "left_out"),
    [
        # A unit with a robot of its own does not speak through its parent's.
        (["house", "dept_cc"], {"DB"}),
        (["dept_db", "dept_cc"], {"HO", "CX", "RK", "BR1", "BR1-01"}),
    ],
)
def test_a_unit_that_no_key_reaches(house: Workspace, keys: list[str], left_out: set[str]) -> None:
    house.settings.messages.transport = "wecom_robot"
    set_keys(house, *keys)
    with pytest.raises(EnvironmentFault, match="no WeCom robot with a key for") as caught:
        robots(house)
    named = set(caught.value.what.split(": ")[1].split(", "))
    assert left_out <= named
    assert not named & {"CC"}


def test_robots_beside_mail(house: Workspace) -> None:
    set_keys(house, "DEPT_DB", "dept.cc")
    assert robots(house) == "WeCom robots beside for DB, CC; without a key: HO"
    set_keys(house, "DEPT_DB", "dept_cc", "House")
    assert "without" not in robots(house)


def test_a_key_that_no_unit_uses(house: Workspace) -> None:
    set_keys(house, "dept_db", "dept_bd")
    with pytest.raises(EnvironmentFault, match="of no unit's robot: dept_bd") as caught:
        robots(house)
    assert "key-of" not in str(caught.value)


@pytest.mark.parametrize(("keys", "beside"), [((), True), (("dept_bd",), False)])
def test_no_robot_is_used(house: Workspace, keys: tuple[str, ...], beside: bool) -> None:
    set_keys(house, *keys)
    house.settings.wecom.beside = beside
    assert robots(house) == "no WeCom robot is used"


@pytest.mark.parametrize("beside", [True, False])
def test_the_audit_groups_robot_alone(house: Workspace, beside: bool) -> None:
    """Checkpoints go to the auditors' group however messages go."""
    house.settings.audit.wecom_robot = "Audit"
    set_keys(house, "audit")
    house.settings.wecom.beside = beside
    assert robots(house) == "no unit's WeCom robot is used; audit tells the auditors"


def test_an_audit_robot_without_a_key_is_not_used(house: Workspace) -> None:
    house.settings.audit.wecom_robot = "audit"
    assert robots(house) == "no WeCom robot is used"


def test_an_example_sends_without_approval(ws: Workspace) -> None:
    assert "none waits" in check_templates(ws.settings)


def test_a_real_organisation_must_approve_what_customers_read(ws: Workspace) -> None:
    publish(ws.db, documents(organisation=REAL), OPS, NOON)
    with pytest.raises(EnvironmentFault, match="cause_closed, verification_question") as caught:
        check_templates(ws.settings)
    assert "template approve" in str(caught.value.fix)
    real = Workspace(ws.settings, ws.db)
    for template in ("cause_closed", "verification_question"):
        approve_template(real, template, CHIEF, NOON)
    assert "none waits" in check_templates(ws.settings)
