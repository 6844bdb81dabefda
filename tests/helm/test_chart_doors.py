"""What serves whoever comes must not open the console or the Admin API to the world."""

import pytest
from chart import Object, Values, one, texts
from helm_python import HelmError

from router.roles import is_inside

INSIDE = [
    "/",
    "/admin",
    "/admin/",
    "/admin/v1",
    "/admin/v1/policies",
    "/Admin/v1",
    "/a",
    "/console",
    "/console/x",
    "/c",
]
ODD = ["//admin", "/./admin", "/v1/../admin", "/%61dmin", "/(.*)", "/v1*", "/ad min", ""]
DOORS = ["ingress", "httpRoute"]


def _values(door: str, *paths: str, anonymous: bool = True) -> Values:
    opened: Object = {"enabled": True, "paths": list(paths)}
    if door == "httpRoute":
        opened["parentRefs"] = [{"name": "gateway"}]
    return {door: opened, "auth": {"allowAnonymous": anonymous}}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", INSIDE)
def test_no_prefix_leads_inside(door: str, path: str) -> None:
    """A path above one of ours, ours itself or below it, with slashes or capitals; also behind a harmless one."""
    with pytest.raises(HelmError, match=rf'{door}\.paths\[1\]: "{path}" opens /(admin|console) to everybody'):
        texts(_values(door, "/v1", path))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", ODD)
def test_paths_are_plain(door: str, path: str) -> None:
    """What a gateway would make another path of is none, with keys or without."""
    with pytest.raises(HelmError, match=rf"/{door}/paths/0'.*does not match pattern"):
        texts(_values(door, path, anonymous=False))


@pytest.mark.parametrize("door", DOORS)
def test_other_paths_are_open(door: str) -> None:
    """The API's, and with keys the console's too."""
    wanted = {"ingress": "Ingress", "httpRoute": "HTTPRoute"}[door]
    assert one(_values(door, "/v1", "/ready", "/v1/models/"), wanted)
    assert one(_values(door, "/", "/admin/v1", anonymous=False), wanted)


def test_the_product_calls_the_same_inside() -> None:
    """What the router keeps for operators, by its own word, is what the guard keeps."""
    assert all(is_inside(path) for path in INSIDE if len(path) > 2)
    assert not is_inside("/v1/models")
