"""Does the measurement of appends still measure? Its figures are `make bench`'s."""

import pytest

from console.benchmark_append import TURN, measure_appends
from models.history import HistoryEvent
from tasks.workspace import Workspace
from tests.cast import NOON, number_of

SETS = 1


@pytest.mark.breaks_history
def test_appends_are_measured_with_and_without_history(ws: Workspace) -> None:
    before = number_of(ws.db, HistoryEvent)
    found = measure_appends(ws, SETS, TURN, NOON)
    assert min(found.values()) > 0
    # A thousand in bulk, one for each single change with history, none for those without.
    assert number_of(ws.db, HistoryEvent) == before + 1_000 * SETS + TURN
