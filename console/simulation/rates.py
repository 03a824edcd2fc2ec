"""How often the people of a simulated bank do what: every rate and delay in one place.

Shares are of 1. Hours are working hours of the unit's calendar where the unit acts, hours of the
day where the customer does; each delay is drawn evenly between its two ends.
"""

from dataclasses import dataclass

Hours = tuple[float, float]


@dataclass(frozen=True)
class Rates:
    """`docs/simulation.md` says what each of them leads to."""

    # Departments, with a ticket of a customer's own loop
    rejects: float = 0.05
    rejects_again: float = 0.35
    """Of those who got it by a rejection: the second one leads to arbitration."""
    transfers: float = 0.03
    sleeps: float = 0.05
    """Does nothing until the manager has been told."""
    dawdles: float = 0.08
    """Accepts in time and resolves late."""
    calls_first: float = 0.92
    """Gives the customer a first answer, on accepting or by the duty desk."""
    desk: float = 0.7
    """Of the first answers: given by the duty desk, also at weekends."""
    tells_decision: float = 0.45
    accept: Hours = (0.2, 5.0)
    desk_calls: Hours = (1.0, 12.0)
    resolve: Hours = (3.0, 18.0)
    dawdle: Hours = (22.0, 44.0)
    hand_on: Hours = (0.5, 6.0)
    woken: Hours = (1.0, 4.0)
    wakes_anyway: Hours = (70.0, 90.0)
    """Asleep where no ladder leads to a manager."""
    urgent: float = 0.25
    """Priority P1 takes this part of the time."""

    # Operations
    decides: float = 0.55
    """Of the issues in doubt; the others are still waiting at the end."""
    decide: Hours = (1.0, 9.0)
    arbitrate: Hours = (2.0, 8.0)
    merges: float = 0.5
    abandons: float = 0.15
    """Of the candidates for a big loop."""
    triage_cause: Hours = (3.0, 20.0)
    plan: Hours = (16.0, 40.0)
    accept_cause: Hours = (1.0, 12.0)
    act: Hours = (40.0, 110.0)
    watch: Hours = (60.0, 110.0)

    # Customers
    withdraws: float = 0.02
    withdraw: Hours = (6.0, 60.0)
    yes: float = 0.55
    partly: float = 0.06
    no: float = 0.09
    """The others stay silent."""
    answers_again: float = 0.3
    """Of those who are asked once more."""
    answer: Hours = (2.0, 90.0)
    busy: float = 0.2
    """Of the calls that bring no answer; most ring out."""
    wrong_number: float = 0.04
    refuses: float = 0.05
    call: Hours = (2.0, 14.0)
    """Working hours until the unit has called."""
    awake: tuple[int, int] = (8, 22)


RATES = Rates()
