"""There are pods enough for every replica, whatever fits into one of them and in whichever order Ray places them."""

import itertools
from dataclasses import dataclass

import pytest
from chart import Object, Values, groups, texts
from helm_python import HelmError


@dataclass(frozen=True, slots=True)
class Pool:
    """What a pool's replicas reserve, and how many there are."""

    cpus: float
    gpus: float
    min: int
    max: int


def _values(limits: Object, *pools: Pool, requests: Object | None = None, autoscaled: bool = False) -> Values:
    resources = {"limits": {"memory": "8Gi", **limits}, "requests": requests or {}}
    each = {"model": "m", "target": "t", "accelerator": "kind"}
    return {
        "accelerators": {"kind": {"resources": resources}},
        "autoscaling": {"enabled": autoscaled},
        "pools": [
            {**each, "name": f"p{i}", "cpus": p.cpus, "gpus": p.gpus, "replicas": {"min": p.min, "max": p.max}}
            for i, p in enumerate(pools)
        ],
    }


def _bounds(values: Values) -> tuple[int, int, int]:
    group = groups(values)["kind"]
    return group["minReplicas"], group["replicas"], group["maxReplicas"]


@pytest.mark.parametrize(
    ("limits", "pools", "pods"),
    [
        ({"cpu": "64", "nvidia.com/gpu": 8}, [Pool(1, 3, 8, 8)], 4),
        ({"cpu": "4"}, [Pool(3, 0, 4, 4)], 4),
        ({"cpu": "2"}, [Pool(1, 0, 1, 1), Pool(1, 0, 1, 1)], 1),
        ({"cpu": "16", "nvidia.com/gpu": 2}, [Pool(6, 1, 1, 1), Pool(6, 1, 2, 2)], 2),
        ({"cpu": "8", "nvidia.com/gpu": 1}, [Pool(4, 0.5, 1, 1), Pool(4, 0.5, 1, 1)], 1),
        ({"cpu": "32", "nvidia.com/gpu": 2}, [Pool(1, 0.6, 3, 3)], 2),
        ({"cpu": "32", "nvidia.com/gpu": 2}, [Pool(1, 0.6, 1, 1), Pool(1, 0.7, 1, 1)], 2),
        ({"cpu": "4"}, [Pool(3, 0, 1, 1), Pool(1, 0, 1, 1)], 1),
        ({"cpu": "4"}, [Pool(3, 0, 2, 2), Pool(1, 0, 3, 3)], 3),
        ({"cpu": "1500m"}, [Pool(1, 0, 4, 4)], 2),
    ],
)
def test_pods_hold_whole_replicas(limits: Object, pools: list[Pool], pods: int) -> None:
    """A replica is in one pod: three GPUs of eight fit twice, and what is left over helps nobody."""
    assert _bounds(_values(limits, *pools)) == (pods, pods, pods)


@pytest.mark.parametrize(("cpus", "count"), list(itertools.product((0.5, 0.7, 1, 3, 4), (1, 2, 5, 9))))
def test_two_pools_of_one_size_are_as_one(cpus: float, count: int) -> None:
    """Wherever the first one's replicas lie, the second's find as much room."""
    apart = _bounds(_values({"cpu": "4"}, Pool(cpus, 0, 1, 1), Pool(cpus, 0, count, count)))
    assert apart == _bounds(_values({"cpu": "4"}, Pool(cpus, 0, count + 1, count + 1)))
    assert apart[0] == -(-(count + 1) // int(4 / cpus))


def test_the_autoscaler_has_room_for_new_replicas_beside_old_ones() -> None:
    """Twice the pods of the most replicas, counted by what fits."""
    assert _bounds(_values({"cpu": "4"}, Pool(3, 0, 1, 4), autoscaled=True)) == (1, 1, 8)


def test_requests_count_where_there_is_no_limit() -> None:
    """As KubeRay and Ray's autoscaler read a pod: rounded up, the limit first."""
    eight = _values({}, Pool(4, 0, 4, 4), requests={"cpu": "8"})
    assert _bounds(eight) == (2, 2, 2)
    assert _bounds(_values({"cpu": "4"}, Pool(4, 0, 4, 4), requests={"cpu": "1"})) == (4, 4, 4)


def test_a_pod_of_no_known_size_is_refused() -> None:
    """Ray's autoscaler would not start; so for engines, and for routers."""
    with pytest.raises(HelmError, match=r"accelerators\.kind\.resources: neither limits\.cpu nor requests\.cpu"):
        texts(_values({}, Pool(1, 0, 1, 1)))
    sizeless = {"router": {"resources": {"limits": {"cpu": None}, "requests": {"cpu": None}}}}
    with pytest.raises(HelmError, match=r"router\.resources: neither limits\.cpu nor requests\.cpu"):
        texts(sizeless)


def test_one_and_a_half_gpus_are_refused() -> None:
    """Ray divides single GPUs only."""
    with pytest.raises(HelmError, match=r"gpus 1\.5: Ray gives whole GPUs above 1"):
        texts(_values({"cpu": "4", "nvidia.com/gpu": 4}, Pool(1, 1.5, 1, 1)))
