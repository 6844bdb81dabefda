"""The life cycle of policy versions, over the in-memory and the Redis store."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from operators import router_over

from policies.document import Document, parse_document
from router.config.traffic import DecisionSettings
from router.state.redis_store import Keys, connect
from router.steering.errors import Conflict, Invalid, UnknownVersion, WrongState
from router.steering.running import SteeringStores, memory_stores, redis_stores
from router.steering.steering import Steering
from router.steering.versions import FILE

VANILLA = {"tasks": {"legal_analysis": {"mode": "vanilla"}}}


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[SteeringStores]:
    """Each implementation, empty."""
    if request.param == "memory":
        yield memory_stores()
        return
    redis = connect(request.getfixturevalue("redis_url"), timeout_s=5)
    yield redis_stores(redis, Keys(f"test-{uuid.uuid4().hex}"), DecisionSettings())
    await redis.aclose()


def steering_over(stores: SteeringStores) -> Steering:
    """The operator's side of it."""
    return router_over(stores).steering


@pytest.fixture
def steering(stores: SteeringStores) -> Steering:
    """One router's."""
    return steering_over(stores)


def document_of(steering: Steering) -> Document:
    """What that router decides by."""
    return steering.pilot.knowledge.document


async def test_a_version_from_draft_to_active_and_back(steering: Steering) -> None:
    """Each step is in force at once here, and in the audit trail with who, when, why and what changed."""
    draft = await steering.create(VANILLA, "ana", "legal answers got slower")
    assert (draft.id, draft.etag, (await steering.get(1)).state) == (1, "1.1", "draft")
    assert document_of(steering) == Document()
    status = await steering.activate(1, "ben", "as agreed")
    assert (status.active, status.by, status.source) == (1, "ben", "store")
    assert document_of(steering).tasks["legal_analysis"].mode == "vanilla"
    await steering.rollback("cem", "too slow")
    assert document_of(steering) == Document()
    told = [(entry.by, entry.action, entry.version, entry.why) for entry in await steering.history()]
    assert told == [
        ("cem", "rollback", FILE, "too slow"),
        ("ben", "activate", 1, "as agreed"),
        ("ana", "create", 1, "legal answers got slower"),
    ]
    (change,) = (await steering.history())[1].changes
    assert (change.path, change.before, change.after) == ("tasks", None, VANILLA["tasks"])
    assert [(v.id, v.state) for v in await steering.versions()] == [(1, "retired"), (FILE, "active")]


async def test_the_second_of_two_operators_gets_a_conflict(steering: Steering, stores: SteeringStores) -> None:
    """With what is there now and how theirs differs; nothing is lost, and with the new etag it goes through."""
    other = steering_over(stores)
    draft = await steering.create(VANILLA, "ana")
    await steering.update(1, {"tasks": {"legal_analysis": {"k": {"max": 2}}}}, draft.etag, "ana")
    with pytest.raises(Conflict) as caught:
        await other.update(1, {"kill_switch": True}, draft.etag, "ben")
    assert caught.value.current.by == "ana"
    assert {change.path for change in caught.value.changes} == {"tasks", "kill_switch"}
    assert (await steering.get(1)).document == {"tasks": {"legal_analysis": {"k": {"max": 2}}}}
    await other.update(1, {"kill_switch": True}, caught.value.current.etag, "ben")
    assert (await steering.get(1)).document == {"kill_switch": True}


async def test_of_many_writers_at_once_each_change_is_made_or_refused(stores: SteeringStores) -> None:
    """Twenty create at once: twenty versions; twenty update one at once: one of them gets through."""
    routers = [steering_over(stores) for _ in range(20)]
    made = await asyncio.gather(*(one.create(VANILLA, f"o{i}") for i, one in enumerate(routers)))
    assert sorted(version.id for version in made) == list(range(1, 21))
    results = await asyncio.gather(
        *(one.update(7, {"kill_switch": True}, "7.1", f"o{i}") for i, one in enumerate(routers)), return_exceptions=True
    )
    assert sum(isinstance(result, Conflict) for result in results) == 19
    assert len(await routers[0].history()) == 21


async def test_an_operator_who_saw_another_active_version_is_told(steering: Steering) -> None:
    """Activating over somebody's fresh activation is refused where it was not what they looked at."""
    await steering.create(VANILLA, "ana")
    await steering.create({"kill_switch": True}, "ben")
    await steering.activate(1, "ana", if_active=FILE)
    with pytest.raises(Conflict):
        await steering.activate(2, "ben", if_active=FILE)
    with pytest.raises(Conflict):
        await steering.activate(2, "ben", if_match="2.9")
    assert document_of(steering).tasks


async def test_whoever_ends_another_s_trial_leaves_a_line(steering: Steering) -> None:
    """Activating ends the canary of somebody else, who finds in the audit trail who did."""
    await steering.create(VANILLA, "ana")
    await steering.create({"kill_switch": True}, "ben")
    await steering.start_canary(1, 0.1, "request", (), "ana")
    await steering.activate(2, "ben", "urgent")
    newest = (await steering.history())[0]
    assert (newest.by, newest.why) == ("ben", "urgent; ended the canary of version 1 by ana")


async def test_what_serves_is_not_edited(steering: Steering) -> None:
    """A version that was active stays what it was; one in a trial is stopped first."""
    await steering.create(VANILLA, "ana")
    await steering.create(VANILLA, "ana")
    await steering.activate(1, "ana")
    for version in (1, FILE):
        with pytest.raises(WrongState):
            await steering.update(version, {}, (await steering.get(version)).etag, "ana")
    await steering.start_shadow(2, "ana")
    with pytest.raises(WrongState):
        await steering.update(2, {}, "2.1", "ana")
    await steering.stop(2, "enough", "ana")
    assert (await steering.update(2, {}, "2.1", "ana")).etag == "2.2"
    with pytest.raises(UnknownVersion):
        await steering.get(99)


async def test_rolling_back_goes_back_one_by_one(steering: Steering) -> None:
    """As far as the file's; a version that was never active is no place to roll back to."""
    for k in (1, 2, 3):
        await steering.create({"tasks": {"sql_generation": {"k": {"max": k}}}}, "ana")
        await steering.activate(k, "ana")
    await steering.create({}, "ana")
    seen = [(await steering.rollback("ana")).active for _ in range(3)]
    assert seen == [2, 1, FILE]
    for wrong in (None, 4, FILE):
        with pytest.raises(WrongState):
            await steering.rollback("ana", to=wrong)
    await steering.activate(1, "ana")
    await steering.activate(3, "ana")
    assert (await steering.rollback("ana", to=FILE)).active == FILE


async def test_a_wrong_document_is_not_kept(steering: Steering) -> None:
    """Neither as a draft nor as an edit; every problem is told."""
    with pytest.raises(Invalid) as caught:
        await steering.create("kil_switch: true\npolicy: adaptiv\n", "ana")
    assert [(p.path, p.nearest) for p in caught.value.problems] == [
        ("policy", "adaptive"),
        ("kil_switch", "kill_switch"),
    ]
    draft = await steering.create("# keep tools exact\nkill_switch: false\n", "ana")
    assert draft.text.startswith("# keep")
    with pytest.raises(Invalid):
        await steering.update(1, "[1]", draft.etag, "ana")
    assert (await steering.get(1)).revision == 1


async def test_the_files_kill_switch_holds(steering: Steering) -> None:
    """Whatever version is in force."""
    await steering.create(VANILLA, "ana")
    await steering.activate(1, "ana")
    steering.pilot.take_base(parse_document({"kill_switch": True}))
    assert document_of(steering).kill_switch
    assert document_of(steering).tasks
    steering.pilot.take_base(Document())
    assert not document_of(steering).kill_switch
