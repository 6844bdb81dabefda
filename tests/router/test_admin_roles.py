"""Who may do what over the Admin API: every route with every role, over the real application behind its guard."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from office import Office, office

from router.admin.routes import AnyRoute


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    """A guarded router."""
    async with office(tmp_path) as found:
        yield found


BODIES: dict[str, object] = {
    "/policies": {"document": {}, "why": "test"},
    "/policies/validate": {"text": "tasks: {}"},
    "/policies/{version}": {"document": {"kill_switch": True}},
    "/policies/{version}/canary": {"share": 0.5},
    "/keys": {"id": "team-b"},
}
PLACES = {"version": "1", "replica": "draft-1", "id": "team-b", "request_id": "none-such"}
OWN = {"/keys", "/keys/{id}", "/keys/{id}/rotate", "/settings"}


def _path(route: AnyRoute) -> str:
    path = route.path
    for name in route.places:
        path = path.replace(f"{{{name}}}", PLACES[name])
    return path + ("?request_id=none-such" if path.endswith("/explain") else "")


def _body(route: AnyRoute) -> object:
    return BODIES.get(route.path, {}) if route.method in ("POST", "PUT") else None


async def test_every_route_with_every_role(desk: Office) -> None:
    """A client may none, an operator all but keys and settings, an admin those too; no key is none."""
    routes = desk.service.ingress.admin.routes
    assert {route.path for route in routes} >= OWN
    for route in routes:
        for role, allowed in (("", False), ("client", False), ("operator", route.path not in OWN), ("admin", True)):
            got = await desk.ask(route.method, _path(route), _body(route), role)
            refused = got.status == (403 if role else 401)
            assert refused is not allowed, (route.method, route.path, role, got)
            if allowed:
                assert got.status < 500, (route.method, route.path, role, got)
                assert got.headers["cache-control"] == "no-store"


async def test_changes_carry_the_name_of_the_key(desk: Office) -> None:
    """In versions, the history, marks and events."""
    made = await desk.ask("POST", "/policies", {"document": {"kill_switch": True}, "why": "night"})
    assert (made.status, made.body["by"]) == (201, "operator")
    await desk.ask("POST", "/policies/1/activate", {"why": "now"}, "admin")
    (activated, created) = (await desk.ask("GET", "/policies/history")).body["history"]
    assert (created["by"], created["action"], created["why"]) == ("operator", "create", "night")
    assert (activated["by"], activated["action"], activated["why"]) == ("admin", "activate", "now")
    marked = await desk.ask("POST", "/engines/draft-1/drain", {"why": "driver"})
    assert marked.body["mark"]["by"] == "operator"
    events = (await desk.ask("GET", "/events?kind=engine_marked")).body["events"]
    assert "operator has drained it: driver" in events[0]["detail"]


async def test_two_operators_save_at_once(tmp_path: Path) -> None:
    """The second gets 412 with what is there now, whose it is, and the difference; nothing is lost."""
    async with office(tmp_path, names=("ana", "bo")) as desk:
        one = {"tasks": {"sql_generation": {"k": {"max": 4}}}}
        made = await desk.ask("POST", "/policies", {"document": one}, "ana")
        path, read = f"/policies/{made.body['version']}", made.headers["etag"]
        assert (await desk.ask("PUT", path, {"document": one}, "ana")).code == "if_match_needed"
        hers = {"tasks": {"sql_generation": {"k": {"max": 6}}}}
        saved = await desk.ask("PUT", path, {"document": hers, "why": "room"}, "ana", **{"If-Match": read})
        assert saved.status == 200
        assert saved.headers["etag"] == saved.body["etag"] != read
        his = {"tasks": {"sql_generation": {"k": {"max": 2}}}}
        refused = await desk.ask("PUT", path, {"document": his}, "bo", **{"If-Match": read})
        assert (refused.status, refused.code) == (412, "version_changed")
        error = refused.body["error"]
        assert (error["current"]["by"], error["current"]["document"]) == ("ana", hers)
        assert error["changes"] == [{"path": "tasks.sql_generation.k.max", "before": 6, "after": 2}]
        assert (await desk.ask("GET", path)).body["document"] == hers
        again = await desk.ask("PUT", path, {"document": his}, "bo", **{"If-Match": error["current"]["etag"]})
        assert again.status == 200
        acted = await desk.ask("POST", f"{path}/activate", {}, "ana", **{"If-Match": saved.headers["etag"]})
        assert acted.status == 412
        odd = await desk.ask("POST", f"{path}/activate", {}, "ana", **{"If-Match": "seven"})
        assert odd.code == "invalid_value"


async def test_a_wrong_policy_is_refused_with_every_problem(desk: Office) -> None:
    """Path, value, what is allowed and the nearest name; checking alone keeps nothing and answers 200."""
    wrong = {"tasks": {"sql_generation": {"k": {"mx": 3}}}, "kill_swich": True}
    refused = await desk.ask("POST", "/policies", {"document": wrong})
    assert (refused.status, refused.code) == (422, "invalid_policy")
    paths = {problem["path"]: problem for problem in refused.body["error"]["problems"]}
    assert paths["tasks.sql_generation.k.mx"]["nearest"] == "max"
    assert paths["kill_swich"]["nearest"] == "kill_switch"
    checked = await desk.ask("POST", "/policies/validate", {"document": wrong})
    assert (checked.status, checked.body["valid"], len(checked.body["problems"])) == (200, False, 2)
    both = await desk.ask("POST", "/policies/validate", {"document": {}, "text": ""})
    assert both.status == 400


async def test_what_looks_like_a_slip_is_a_warning(desk: Office) -> None:
    """A k that no pool takes and a segment that limits.segments does not have, with what there is."""
    policy = {"rules": [{"when": {"segment": ["defautl"]}, "then": {"k": 31}}]}
    checked = (await desk.ask("POST", "/policies/validate", {"document": policy})).body
    warned = {one["path"]: one for one in checked["warnings"]}
    assert checked["valid"] is True
    assert set(warned) == {"rules.0.when.segment.0", "rules.0.then.k"}
    assert warned["rules.0.when.segment.0"]["nearest"] == "default"
    assert warned["rules.0.then.k"]["nearest"] in warned["rules.0.then.k"]["message"]


async def test_a_name_that_is_not_here_is_a_warning(desk: Office) -> None:
    """The policy is valid and kept; whoever validates, saves or rehearses it is told, with the nearest right name."""
    policy = {
        "tasks": {"sql_generation": {"pools": ["darft"]}},
        "rules": [{"when": {"model": ["demo"]}, "then": {"k": 2}}],
    }
    checked = (await desk.ask("POST", "/policies/validate", {"document": policy})).body
    (warning,) = checked["warnings"]
    assert (checked["valid"], checked["problems"]) == (True, [])
    assert (warning["path"], warning["value"], warning["nearest"]) == ("tasks.sql_generation.pools.0", "darft", "draft")
    made = await desk.ask("POST", "/policies", {"document": policy})
    assert (made.status, made.body["warnings"]) == (201, [warning])
    place = f"/policies/{made.body['version']}"
    assert (await desk.ask("GET", place)).body["warnings"] == [warning]
    assert (await desk.ask("POST", f"{place}/dry-run", {})).body["warnings"] == [warning]
    wrong = (await desk.ask("POST", "/policies/validate", {"document": {**policy, "kill_swich": True}})).body
    assert (len(wrong["problems"]), wrong["warnings"]) == (1, [])


@pytest.mark.parametrize(
    "text",
    ['a: "\\ud800"', "a: !!binary aGVs//8=", "a: 2020-01-01", "a: 99999999999999999999999999", "a: .nan", "a: [}"],
)
async def test_what_yaml_holds_and_json_does_not(desk: Office, text: str) -> None:
    """Is said to be wrong like anything else."""
    checked = await desk.ask("POST", "/policies/validate", {"text": text})
    assert (checked.status, checked.body["valid"]) == (200, False)
    assert (await desk.ask("POST", "/policies", {"text": text})).code == "invalid_policy"


async def test_versions_that_are_not_there(desk: Office) -> None:
    """By number or by word; and what the life cycle does not allow is a 409 that says what it does."""
    for place in ("7", "seven", "99999999999999999999"):
        got = await desk.ask("GET", f"/policies/{place}")
        assert (got.status, got.code) == (404, "unknown_version")
    assert (await desk.ask("GET", "/policies/active")).body["version"] == 0
    assert (await desk.ask("POST", "/policies/rollback", {})).code == "wrong_state"
    assert (await desk.ask("POST", "/policies/stop", {})).code == "wrong_state"
    assert (await desk.ask("POST", "/policies/0/canary", {"share": 2})).code == "invalid_value"


async def test_keys_are_made_rotated_and_revoked(desk: Office) -> None:
    """The secret is told once and works; nothing that is listed is secret; the key in use stays."""
    body = {"id": "team-b", "role": "operator", "limits": {"requests_per_minute": 60}}
    made = await desk.ask("POST", "/keys", body, "admin")
    assert (made.status, made.body["kept_in"]) == (201, "redis")
    assert (await desk.ask("POST", "/keys", body, "admin")).code == "key_exists"
    await _until_known(desk, made.body["key"], 200)
    listed = await desk.ask("GET", "/keys", None, "admin")
    assert {key["id"] for key in listed.body["keys"]} == {"client", "operator", "admin", "team-b"}
    assert "sha256" not in str(listed.body)
    assert made.body["key"] not in str(listed.body)
    turned = await desk.ask("POST", "/keys/team-b/rotate", {"overlap_s": 0}, "admin")
    await _until_known(desk, turned.body["key"], 200)
    await _until_known(desk, made.body["key"], 401)
    assert (await desk.ask("DELETE", "/keys/team-b", None, "admin")).status == 204
    await _until_known(desk, turned.body["key"], 401)
    assert (await desk.ask("DELETE", "/keys/team-b", None, "admin")).code == "unknown_key"
    assert (await desk.ask("DELETE", "/keys/admin", None, "admin")).code == "own_key"
    in_file = await desk.ask("DELETE", "/keys/client", None, "admin")
    assert in_file.status == 204
    dead = await desk.ask("POST", "/keys", {"id": "x", "expires": "2020-01-01T00:00:00Z"}, "admin")
    assert (dead.status, dead.code) == (409, "expired_key")
    bad = await desk.ask("POST", "/keys", {"id": "x", "segments": ["nowhere"]}, "admin")
    assert bad.code == "unknown_segment"
    span = await desk.ask("POST", "/keys", {"id": "x", "expires": "90d"}, "admin")
    assert "a moment with a time zone, as 2027-01-31T00:00:00Z" in span.body["error"]["message"]


async def _until_known(desk: Office, secret: str, status: int) -> None:
    await desk.service.until_async(lambda: _knows(desk, secret, status))


async def _knows(desk: Office, secret: str, status: int) -> bool:
    return (await desk.ask("GET", "/events", key=secret)).status == status


async def test_settings_are_shown_without_secrets(desk: Office) -> None:
    """Every one, with its default and what it means."""
    rows = (await desk.ask("GET", "/settings", None, "admin")).body["settings"]
    by_path = {row["path"]: row for row in rows}
    assert by_path["router.sync_s"]["default"] == "0.2"
    assert by_path["redis.password"]["value"] == "unset"
    assert all(row["about"] for row in rows if row["path"].startswith("router."))
