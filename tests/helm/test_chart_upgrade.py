"""What `helm upgrade` changes: never what Kubernetes forbids, and no pod where none need restart."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import CHART, NAMESPACE, RELEASE, VALUES_FILES, Object, Values, application, merged, objects, one, values_of
from helm_python import Chart

STORED = {"StatefulSet": {"replicas", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "ordinals"}}
"""Fields of a StatefulSet's spec that may change; all others may not."""

CHANGES: dict[str, Values] = {
    "images": {"image": {"tag": "2.0.0"}, "redis": {"builtin": {"image": {"tag": "7.4.0"}}}},
    "sizes": {"router": {"replicas": {"min": 3, "max": 9}}, "redis": {"builtin": {"maxMemory": "576mb"}}},
    "labels": {"commonLabels": {"team": "x"}, "podLabels": {"team": "x"}, "commonAnnotations": {"a": "b"}},
    "monitoring": {"metrics": {"podMonitor": {"enabled": True}, "dashboards": {"enabled": True}}},
    "policy": {"policy": {"document": {"tasks": {"legal_analysis": {"mode": "vanilla"}}}}},
    "a secret of ours": {"redis": {"existingSecret": "mine"}},
    "placement": {"router": {"nodeSelector": {"a": "b"}}, "redis": {"builtin": {"priorityClassName": "high"}}},
}


def _by_name(rendered: list[Object]) -> dict[tuple[str, str], Object]:
    return {(o["kind"], o["metadata"]["name"]): o for o in rendered}


def _immutable(o: Object) -> Any:
    spec = o.get("spec", {})
    if o["kind"] in STORED:
        return {key: value for key, value in spec.items() if key not in STORED[o["kind"]]}
    if o["kind"] == "Service":
        return spec.get("clusterIP")
    if o["kind"] == "RoleBinding":
        return o["roleRef"]
    if o["kind"] == "Secret":
        return o["type"]
    return None


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["default", *VALUES_FILES])
def test_an_upgrade_changes_nothing_that_is_fixed(name: str, change: str) -> None:
    """Claims, selectors and roles stay as they were."""
    before = _by_name(objects(values_of(name)))
    after = _by_name(objects(merged(values_of(name), CHANGES[change])))
    for key in before.keys() & after.keys():
        assert _immutable(before[key]) == _immutable(after[key]), key


@pytest.mark.parametrize("name", ["default", *VALUES_FILES])
def test_a_policy_edit_is_one_config_map(name: str) -> None:
    """Nothing else in the release is different, so no pod restarts and Serve is told nothing."""
    edit = {"policy": {"document": {"tasks": {"creative_writing": {"mode": "vanilla"}}}}}
    before, after = (_by_name(objects(v)) for v in (values_of(name), merged(values_of(name), edit)))
    assert before.keys() == after.keys()
    changed = {key for key in before if key[0] != "Secret" and before[key] != after[key]}
    assert {kind for kind, _ in changed} == {"ConfigMap"}
    assert len(changed) == 1


def test_the_policy_is_mounted_as_a_folder() -> None:
    """A file mounted by subPath keeps its first content for ever; routers watch the one in the folder."""
    assert application({})["args"]["policy_file"] == "/etc/alpharoute/policy/policy.yaml"
    assert "policy" not in application({})["args"]
    (policy,) = (o for o in objects({}) if o["kind"] == "ConfigMap" and o["metadata"]["name"].endswith("-policy"))
    assert yaml.safe_load(policy["data"]["policy.yaml"]) == {}
    for group in one({}, "RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        spec = group["template"]["spec"]
        assert {"name": "policy", "configMap": {"name": policy["metadata"]["name"]}} in spec["volumes"]
        assert {"name": "policy", "mountPath": "/etc/alpharoute/policy", "readOnly": True} in spec["containers"][0][
            "volumeMounts"
        ]


def test_a_policy_of_yours_is_mounted_instead() -> None:
    """And the chart makes none."""
    values = {"policy": {"existingConfigMap": "mine"}}
    assert not [o for o in objects(values) if o["metadata"]["name"].endswith("-policy")]
    volumes = one(values, "RayService")["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert {"name": "policy", "configMap": {"name": "mine"}} in volumes


def test_labels_and_counts_start_no_second_cluster() -> None:
    """KubeRay replaces the whole cluster for any other difference in it than counts of pods."""
    for change in ("labels of objects", "counts"):
        over = {"commonLabels": {"a": "b"}, "commonAnnotations": {"c": "d"}}
        if change == "counts":
            over = {"router": {"replicas": {"min": 4, "max": 4}}}  # type: ignore[dict-item]  # another shape of values
        assert _fixed_cluster(objects({})) == _fixed_cluster(objects(over))
    assert application({})["args"] == application({"router": {"replicas": {"min": 4, "max": 4}}})["args"]


def test_a_new_version_of_the_chart_alone_restarts_nothing(tmp_path: Path) -> None:
    """Its version stands on objects, not in pods; the image's tag is the application's version."""
    copy = tmp_path / "alpharoute"
    with Chart.load(CHART) as chart:
        chart.save_dir(tmp_path)
    description = yaml.safe_load((copy / "Chart.yaml").read_text())
    (copy / "Chart.yaml").write_text(yaml.safe_dump({**description, "version": "9.9.9"}))
    with Chart.load(copy) as newer:
        rendered = newer.render(values={}, name=RELEASE, namespace=NAMESPACE)
    after = [o for path, text in rendered.items() if path.endswith(".yaml") for o in yaml.safe_load_all(text) if o]
    assert _fixed_cluster(after) == _fixed_cluster(objects({}))
    statefulset = next(o for o in after if o["kind"] == "StatefulSet")
    assert statefulset["spec"] == one({}, "StatefulSet")["spec"]


def _fixed_cluster(rendered: list[Object]) -> Object:
    service = next(o for o in rendered if o["kind"] == "RayService")
    config: Object = deepcopy(service["spec"]["rayClusterConfig"])
    for group in config["workerGroupSpecs"]:
        for count in ("replicas", "minReplicas", "maxReplicas"):
            del group[count]
    return config


def test_redis_restarts_when_its_configuration_changes() -> None:
    """It reads it at the start only."""
    before, after = (one(v, "StatefulSet") for v in ({}, {"redis": {"builtin": {"maxMemory": "576mb"}}}))
    assert before["spec"]["template"] != after["spec"]["template"]
