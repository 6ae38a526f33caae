"""What counts as one visit."""

from server.web import visits
from server.web.visits import VISIT_SECONDS, Visits


def test_a_visit_ends_ten_minutes_after_its_first_look() -> None:
    """Looks in between do not make it longer, so a tab that stays open leaves an entry each ten minutes."""
    now = [0.0]
    seen = Visits(monotonic=lambda: now[0])
    begun = []
    for second in (0, 1, VISIT_SECONDS - 1, VISIT_SECONDS, VISIT_SECONDS + 1):
        now[0] = second
        begun.append(seen.begins(("key:a", "ann")))
    assert begun == [True, False, False, True, False]
    assert seen.begins(("key:b", "ann"))


def test_forgotten_visits_cost_an_entry_more() -> None:
    """Beyond the bound the oldest visit is forgotten, and its next look is written again."""
    seen = Visits(monotonic=lambda: 0.0)
    for number in range(visits._MOST + 1):
        assert seen.begins(number)
    assert seen.begins(0)
    assert not seen.begins(visits._MOST)
