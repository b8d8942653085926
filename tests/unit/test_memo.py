"""What is kept beside a model of its environment's record."""

from datetime import UTC, datetime, timedelta

import msgspec

from domain.environments import Environment, EnvironmentState, Hold, Isolation, ServiceRecord
from domain.images import own_tag, shared_tag
from domain.limits import HeldLimits
from domain.memo import MEMO_KEY, lasting, remembered, restored, with_memo
from domain.names import BundleDigest, EnvironmentName, OperationId

NOW = datetime(2026, 3, 4, tzinfo=UTC)
LIMITS = HeldLimits(cpus=1, memory_bytes=2**30, pids=512, log_bytes=2**20)
RECORD = Environment(
    name=EnvironmentName("lab"),
    state=EnvironmentState.DEGRADED,
    created_at=NOW,
    updated_at=NOW + timedelta(hours=1),
    operation=OperationId("op-1"),
    reason="web has ended",
    bundle=BundleDigest("sha256:0a"),
    labels={"course": "web-101"},
    isolation=Isolation.INTERNAL,
    expires_at=NOW + timedelta(days=1),
    warned=True,
    hold=Hold(owner="jana", reason="exam"),
    services=(ServiceRecord(name="web", image=shared_tag("1"), limits=LIMITS),),
    networks={"default": "10.213.0.0/28"},
    images={"web": shared_tag("1")},
    vpn=True,
    modelled=True,
    last_error="it broke",
)
DOCUMENT = {"services": {"web": {"image": shared_tag("1")}}}


def test_what_lasts_comes_back_and_what_passes_does_not() -> None:
    memo = with_memo(DOCUMENT, RECORD)

    found = remembered(msgspec.json.decode(msgspec.json.encode(memo)))

    assert found == msgspec.structs.replace(
        RECORD,
        state=EnvironmentState.STOPPED,
        updated_at=NOW,
        operation=None,
        reason="",
        last_error="",
        warned=False,
    )
    assert found == lasting(RECORD)


def test_the_rest_of_the_model_stays_as_it_is() -> None:
    memo = with_memo(DOCUMENT, RECORD)

    assert {key: value for key, value in memo.items() if key != MEMO_KEY} == DOCUMENT


def test_images_are_those_that_the_model_runs() -> None:
    newer = {**with_memo(DOCUMENT, RECORD), "services": {"web": {"image": own_tag("2")}}}

    found = remembered(newer)

    assert found is not None
    assert found.images == {"web": own_tag("2")}


def test_a_model_without_a_memo_or_with_a_strange_one_remembers_nothing() -> None:
    assert remembered(DOCUMENT) is None
    assert remembered({**DOCUMENT, MEMO_KEY: {"name": "lab"}}) is None
    assert remembered({**DOCUMENT, MEMO_KEY: "lab"}) is None


def test_a_restored_record_is_in_the_state_that_its_containers_show() -> None:
    later = NOW + timedelta(days=2)

    found = restored(lasting(RECORD), EnvironmentState.RUNNING, later)

    assert (found.state, found.updated_at, found.created_at) == ("running", later, NOW)
