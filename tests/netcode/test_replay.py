"""The replay window against a plain set of everything ever accepted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netcode.replay import WINDOW, ReplayWindow

steps = st.lists(st.one_of(st.integers(-300, 300), st.integers(-3, 3), st.integers(-70_000, 70_000)), max_size=200)


@given(start=st.sampled_from([1, 2**16 - 5, 2**32 - 2, 2**64 - 1]), steps=steps)
def test_it_agrees_with_a_set_of_all_numbers(start: int, steps: list[int]) -> None:
    window = ReplayWindow()
    seen: set[int] = set()
    sequence = start
    for step in steps:
        sequence = max(-5, sequence + step)
        highest = max(seen, default=0)
        expected = sequence > 0 and sequence not in seen and sequence > highest - WINDOW
        assert window.fresh(sequence) is expected
        if expected:
            window.accept(sequence)
            seen.add(sequence)
            assert not window.fresh(sequence)
        assert window.highest == max(seen, default=0)


def test_asking_changes_nothing() -> None:
    window = ReplayWindow()
    assert window.fresh(10_000)
    assert window.fresh(1)
    window.accept(1)
    assert window.highest == 1


def test_the_oldest_number_that_is_told_apart() -> None:
    window = ReplayWindow()
    window.accept(1000)
    assert window.fresh(1000 - WINDOW + 1)
    assert not window.fresh(1000 - WINDOW)


def test_a_number_too_old_to_be_held_is_not_marked() -> None:
    window = ReplayWindow()
    window.accept(1000)
    window.accept(1000 - WINDOW)
    assert all(window.fresh(sequence) for sequence in range(1000 - WINDOW + 1, 1000))


def test_a_far_jump_forgets_the_past_but_not_the_present() -> None:
    window = ReplayWindow()
    window.accept(1)
    window.accept(2**63)
    assert not window.fresh(2**63)
    assert window.fresh(2**63 - 1)
    assert not window.fresh(1)
