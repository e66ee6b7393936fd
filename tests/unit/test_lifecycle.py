"""The tables compared with the planned ones, and what holds for triggers in any order."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.errors import IllegalTransition
from mailbridge.lifecycle import (
    DELIVERY,
    FAX,
    FAX_AFTER_FINAL,
    FAX_FINAL,
    DeliveryState,
    DeliveryTrigger,
    FaxState,
    FaxTrigger,
    delivery_transition,
    fax_transition,
)

FAX_STATES: tuple[FaxState, ...] = get_args(FaxState)
FAX_TRIGGERS: tuple[FaxTrigger, ...] = get_args(FaxTrigger)
DELIVERY_STATES: tuple[DeliveryState, ...] = get_args(DeliveryState)
DELIVERY_TRIGGERS: tuple[DeliveryTrigger, ...] = get_args(DeliveryTrigger)
FINAL_EVENT = {"delivered": "fax.delivered", "failed": "fax.failed", "cancelled": "fax.cancelled"}

# As planned: from, then trigger→to.
PLANNED_FAX = """
queued     claim→uploading cancel→cancelled expire→failed
uploading  accept→submitted defer→queued reject→failed lose→in_doubt
in_doubt   accept→submitted resend→queued confirm→delivered fail→failed abandon→failed
submitted  confirm→delivered fail→failed redial→queued expire→failed
uploading  confirm→delivered fail→failed
"""
PLANNED_DELIVERY = """
pending  claim→sending
sending  deliver→delivered defer→pending reject→dead exhaust→dead lose→pending
dead     replay→pending
"""


def planned(table: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for line in table.strip().splitlines():
        state, *transitions = line.split()
        for transition in transitions:
            trigger, _, to = transition.partition("→")
            assert (state, trigger) not in found
            found[state, trigger] = to
    return found


def test_the_transitions_of_a_fax_are_the_planned_ones() -> None:
    assert {pair: transition.state for pair, transition in FAX.items()} == planned(PLANNED_FAX)


def test_the_transitions_of_a_delivery_are_the_planned_ones() -> None:
    assert planned(PLANNED_DELIVERY) == DELIVERY


def test_the_tables_use_every_state_and_trigger() -> None:
    assert {trigger for _, trigger in FAX} == set(FAX_TRIGGERS)
    assert {state for state, _ in FAX} | {transition.state for transition in FAX.values()} == set(FAX_STATES)
    assert {state for state, _ in FAX} == set(FAX_STATES) - FAX_FINAL
    assert {"delivered", "failed", "cancelled"} == FAX_FINAL
    assert {trigger for _, trigger in DELIVERY} == set(DELIVERY_TRIGGERS)
    assert {state for state, _ in DELIVERY} | set(DELIVERY.values()) == set(DELIVERY_STATES)


@pytest.mark.parametrize(("state", "trigger"), list(FAX))
def test_only_a_transition_to_a_final_state_emits_its_final_event(state: FaxState, trigger: FaxTrigger) -> None:
    transition = FAX[state, trigger]
    final = [event for event in transition.events if event in FINAL_EVENT.values()]
    assert final == ([FINAL_EVENT[transition.state]] if transition.state in FAX_FINAL else [])
    assert not final or transition.events[-1] == final[0], "the final event is the last one"
    assert ("fax.submitted" in transition.events) == ((state, trigger) == ("uploading", "accept"))
    assert ("fax.in_doubt" in transition.events) == (transition.state == "in_doubt")
    assert ("fax.resolved" in transition.events) == (state == "in_doubt"), "the end of a doubt is reported, however it ends"
    assert "fax.conflict" not in transition.events


def test_a_result_after_the_final_state_is_ignored_if_it_agrees_and_reported_if_it_contradicts() -> None:
    assert fax_transition("delivered", "confirm") == ("delivered", ())
    assert fax_transition("failed", "fail") == ("failed", ())
    for state, trigger in (("delivered", "fail"), ("failed", "confirm"), ("cancelled", "confirm"), ("cancelled", "fail")):
        assert fax_transition(state, trigger) == (state, ("fax.conflict",))  # type: ignore[arg-type]
    # A trusted report may arrive before the upload's answer, whatever that answer is.
    for state, trigger in product(("delivered", "failed"), ("accept", "lose", "defer", "reject")):
        transition = fax_transition(state, trigger)  # type: ignore[arg-type]
        contradicts = state == "delivered" and trigger in ("defer", "reject")
        assert transition == (state, ("fax.conflict",) if contradicts else ())


def test_a_final_state_is_never_left() -> None:
    assert {state for state, _ in FAX_AFTER_FINAL} <= FAX_FINAL
    for (state, _), transition in FAX_AFTER_FINAL.items():
        assert transition.state == state
        assert transition.events in ((), ("fax.conflict",))
    assert not FAX.keys() & FAX_AFTER_FINAL.keys()


@pytest.mark.parametrize(
    ("state", "trigger"), [p for p in product(FAX_STATES, FAX_TRIGGERS) if p not in {**FAX, **FAX_AFTER_FINAL}]
)
def test_every_other_transition_of_a_fax_is_illegal(state: FaxState, trigger: FaxTrigger) -> None:
    with pytest.raises(IllegalTransition, match=f"^no transition '{trigger}' from state '{state}'$"):
        fax_transition(state, trigger)


@pytest.mark.parametrize(("state", "trigger"), [p for p in product(DELIVERY_STATES, DELIVERY_TRIGGERS) if p not in DELIVERY])
def test_every_other_transition_of_a_delivery_is_illegal(state: DeliveryState, trigger: DeliveryTrigger) -> None:
    with pytest.raises(IllegalTransition, match=f"^no transition '{trigger}' from state '{state}'$"):
        delivery_transition(state, trigger)


def walk(triggers: list[FaxTrigger]) -> tuple[list[FaxState], list[str]]:
    """Apply triggers to a new fax, except illegal ones; return the states and the events in order."""
    states: list[FaxState] = ["queued"]
    events: list[str] = []
    for trigger in triggers:
        try:
            transition = fax_transition(states[-1], trigger)
        except IllegalTransition:
            continue
        states.append(transition.state)
        events += transition.events
    return states, events


@given(st.lists(st.sampled_from(FAX_TRIGGERS), max_size=40))
def test_a_fax_becomes_final_once(triggers: list[FaxTrigger]) -> None:
    states, events = walk(triggers)
    ends = [event for event in events if event in FINAL_EVENT.values()]
    first = next((n for n, state in enumerate(states) if state in FAX_FINAL), None)
    if first is None:
        assert not ends
        assert "fax.conflict" not in events
    else:
        assert set(states[first:]) == {states[first]}
        assert ends == [FINAL_EVENT[states[first]]]
        assert set(events[events.index(ends[0]) + 1 :]) <= {"fax.conflict"}


@given(st.lists(st.sampled_from(FAX_TRIGGERS), max_size=40))
def test_each_doubt_is_reported_at_its_start_and_end(triggers: list[FaxTrigger]) -> None:
    states, events = walk(triggers)
    reported = [event for event in events if event in ("fax.in_doubt", "fax.resolved")]
    assert reported == (["fax.in_doubt", "fax.resolved"] * len(reported))[: len(reported)]
    assert (reported[-1:] == ["fax.in_doubt"]) == (states[-1] == "in_doubt")


@given(st.lists(st.sampled_from(FAX_TRIGGERS), max_size=40))
def test_a_second_upload_needs_proof_or_a_person(triggers: list[FaxTrigger]) -> None:
    states, seen = ["queued"], ["none"]
    for trigger in triggers:
        try:
            states.append(fax_transition(states[-1], trigger).state)  # type: ignore[arg-type]
        except IllegalTransition:
            continue
        seen.append(trigger)
        if states[-1] == "queued":
            assert seen[-1] in ("defer", "resend", "redial")
        if states[-1] == "uploading":
            assert states[-2:] == ["queued", "uploading"]


@given(st.lists(st.sampled_from(DELIVERY_TRIGGERS), max_size=40))
def test_a_delivery_is_delivered_once_and_only_replay_revives_a_dead_one(triggers: list[DeliveryTrigger]) -> None:
    state: DeliveryState = "pending"
    for trigger in triggers:
        before = state
        try:
            state = delivery_transition(state, trigger)
        except IllegalTransition:
            continue
        assert before != "delivered"
        assert before != "dead" or trigger == "replay"
        assert state != "sending" or before == "pending"
