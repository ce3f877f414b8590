"""Whether `helm upgrade` from the versions of the chart before can succeed: what the API server lets nobody change has to
stay as it was, unless UPGRADING.md says otherwise.

.ci/chart_versions/VERSION.json has what each version made of its value sets. `--record` writes it for this version; it is
committed with a release and never changed after it."""

import json
import pathlib
import sys

import yaml
from chart_helm import CHART, VALUE_SETS, Helm, Rendering

RECORDS = pathlib.Path(".ci/chart_versions")
# Of each kind, the fields that the API server refuses to change.
IMMUTABLE = {
    "StatefulSet": ["spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"],
    "Deployment": ["spec.selector"],
    "Service": ["spec.clusterIP"],
    "ClusterRoleBinding": ["roleRef"],
    "Secret": ["type"],
    "PersistentVolumeClaim": ["spec"],
}
# What callers and operators hold on to besides, and would lose without a word.
KEPT = {"Service": ["spec.ports"], "ServiceAccount": [], "ConfigMap": []}
# What goes on purpose: (version before, kind, word of the values, what UPGRADING.md has to say of it).
REPLACED = [("0.1.0", "StatefulSet", "postgres", "## 0.1.0 to 0.2.0")]


def main() -> None:
    [_, binary, flag] = sys.argv
    if flag != "--record":
        sys.exit("chart_upgrade.py HELM --record")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    RECORDS.mkdir(exist_ok=True)
    helm = Helm(binary)
    record = {path.stem: record_of(path.read_text(), helm) for path in VALUE_SETS}
    (RECORDS / f"{version}.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def record_of(values: str, helm: Helm) -> dict:
    return {"values": yaml.safe_load(values), "objects": objects(helm.render(yaml.safe_load(values)))}


def objects(rendering: Rendering) -> dict:
    """Everything that outlives an upgrade, by kind and name. Pods of tests do not."""
    found = {}
    for manifest in rendering.manifests:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind in IMMUTABLE or kind in KEPT:
            paths = IMMUTABLE.get(kind, []) + KEPT.get(kind, [])
            found[f"{kind}/{name}"] = {path: field(manifest, path) for path in paths}
    return found


def field(manifest: object, path: str) -> object:
    for key in path.split("."):
        manifest = manifest.get(key) if isinstance(manifest, dict) else None
    return manifest


def problems(helm: Helm) -> tuple[int, list[str]]:
    """How many objects of earlier versions were looked for, and what became of them that should not have."""
    upgrading = (CHART / "UPGRADING.md").read_text()
    count, found = 0, []
    for path in sorted(RECORDS.glob("*.json")):
        for name, record in json.loads(path.read_text()).items():
            now = objects(helm.render(record["values"]))
            for key, before in record["objects"].items():
                count += 1
                found += compare(f"{path.stem}: {name}: {key}", before, now.get(key), path.stem, key, upgrading, record["values"])
    return count, found


def compare(place: str, before: dict, now: dict | None, version: str, key: str, upgrading: str, values: dict) -> list[str]:
    if now is None:
        said = [
            heading for earlier, kind, word, heading in REPLACED
            if earlier == version and key.startswith(f"{kind}/") and values.get(word)
        ]
        if not said:
            return [f"{place} is gone"]
        return [f"UPGRADING.md lacks {heading!r}" for heading in said if heading not in upgrading]
    return [f"{place}: {one} was {old!r} and is {now.get(one)!r}" for one, old in before.items() if not same(one, old, now.get(one))]


def same(path: str, old: object, new: object) -> bool:
    if path != "spec.ports":
        return old == new
    # More ports are no loss, nor is what they say of themselves.
    ports = {port["name"]: (port["port"], port["targetPort"]) for port in new or []}
    return all(ports.get(port["name"]) == (port["port"], port["targetPort"]) for port in old)


if __name__ == "__main__":
    main()
