"""What must hold for the chart and for each of its renderings, beyond what their schemas say."""

import json
import pathlib
import re

import chart_pod_security
import yaml
from chart_helm import CHART, Rendering

# Keys of ticketd.toml that the chart writes itself.
CHARTS_OWN = {
    "superoffice": {"client_secret_file", "signing_key_files", "signing_key_passphrase_file"},
    "store": {
        "url", "session_url", "password_file", "ca_file", "max_connections", "tenants_directory", "sealing_key_files",
    },
    "server": {
        "address", "unix_socket", "unix_socket_mode", "allow_unidentified_callers", "health_address", "drain_delay",
        "drain_timeout",
    },
    "tls": {"certificate_file", "key_file", "client_certificate", "trust_bundles", "dns_ca_file", "crl_files"},
    "identity": {"jwks_file", "ca_file", "token_file"},
    "http": {"address", "public_url"},
    "admin": {"address"},
    "audit": {"output", "path", "fsync", "hmac_key_file"},
    "authorization": {"policy_file"},
    "telemetry": {"log_filter_file"},
}
SELECTOR = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
# Objects of Kubernetes' own, which the API server checks; a parent chart's values; and secrets, by the operator's names.
OPEN = {"definitions/kubernetes", "properties/global", "patternProperties"}


def chart_problems() -> list[str]:
    return open_objects(json.loads((CHART / "values.schema.json").read_text())) + values_unlike_schema() + drifted_configuration()


def open_objects(schema: object, place: str = "") -> list[str]:
    """Places of the schema where an unknown key would pass."""
    if isinstance(schema, list):
        return [problem for one in schema for problem in open_objects(one, place)]
    if not isinstance(schema, dict):
        return []
    problems = []
    is_condition = re.search(r"/(if|then|anyOf|not|allOf)$", place) or "/allOf/" in place
    described = "properties" in schema or schema.get("type") == "object"
    if described and not is_condition and "additionalProperties" not in schema and not place.endswith(tuple(OPEN)):
        problems.append(f"values.schema.json: {place or '/'} takes unknown keys")
    for key, value in schema.items():
        problems += open_objects(value, f"{place}/{key}")
    return problems


def values_unlike_schema() -> list[str]:
    """Values that the schema has and values.yaml has not, which nobody would find in the README."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return [f"values.yaml does not have {name}" for name in schema_only(schema["properties"], values)]


def schema_only(properties: dict, values: dict, prefix: str = "") -> list[str]:
    found = []
    for key, schema in properties.items():
        if key not in values:
            found.append(prefix + key)
        elif isinstance(values[key], dict) and values[key] and f"{prefix}{key}" not in WHOLE:
            found += schema_only(schema.get("properties", {}), values[key], f"{prefix}{key}.")
    return found


# Values that are one thing, with keys that need not be in values.yaml.
WHOLE = {"resources", "podSecurityContext", "securityContext", "probes.startup", "probes.liveness", "probes.readiness"}


def drifted_configuration() -> list[str]:
    """Keys that ticketd.example.toml and the chart's schema do not share."""
    documented, section = {}, None
    for line in pathlib.Path("ticketd.example.toml").read_text().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = documented.setdefault(header[1], set())
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            section.add(key[1])
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]["properties"]
    problems = []
    for name, keys in documented.items():
        wanted = keys - CHARTS_OWN.get(name, set())
        found = set(schema.get(name, {"properties": {}})["properties"])
        problems += [f"values.schema.json: config.{name} lacks {key}" for key in sorted(wanted - found)]
        problems += [f"ticketd.example.toml: [{name}] lacks {key}" for key in sorted(found - wanted)]
    return problems


def broken_rules(rendering: Rendering) -> list[str]:
    """What is wrong with one rendering, whatever values it is of."""
    rules = workload_rules(rendering) | object_rules(rendering)
    broken = [rule for rule, holds in rules.items() if not holds]
    for manifest in rendering.manifests:
        for pod in chart_pod_security.pod_templates(manifest):
            name = manifest["metadata"]["name"]
            broken += [f"{manifest['kind']} {name}: {problem}" for problem in chart_pod_security.violations(pod)]
    return broken


def workload_rules(rendering: Rendering) -> dict[str, bool]:
    pod, container, toml = rendering.pod, rendering.container, rendering.configuration
    spec = rendering.workload["spec"]
    selector = spec["selector"]["matchLabels"]
    is_postgres = 'url = "postgres' in toml
    claims = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    mounts, ports = set(rendering.mounts), set(rendering.ports)
    service_ports = {port["targetPort"] for one in rendering.all("Service") for port in one["spec"]["ports"]}
    server = toml.split("[server]")[1].split("\n[")[0]
    strategy = spec.get("strategy", {}).get("rollingUpdate")
    return {
        "SQLite's pod is a StatefulSet's, PostgreSQL's a Deployment's":
            rendering.workload["kind"] == ("Deployment" if is_postgres else "StatefulSet"),
        "one pod at most has SQLite's file": is_postgres or spec["replicas"] <= 1,
        "a volume is SQLite's": not is_postgres or not (claims or "data" in mounts),
        "a new replica is ready before an old one goes":
            not is_postgres or strategy == {"maxUnavailable": 0, "maxSurge": 1},
        "the root file system is read-only": container["securityContext"]["readOnlyRootFilesystem"] is True,
        "no token of the Kubernetes API but to verify callers' by":
            pod["automountServiceAccountToken"] is False and has_token(pod) == ("token_file = " in toml),
        "the right to ask about tokens only for those who ask":
            ("token_review = true" in toml) == ("ClusterRoleBinding" in rendering.kinds),
        "no secret in the environment": not any("valueFrom" in one for one in container.get("env", [])),
        "no mount by subPath": not any("subPath" in mount for mount in container["volumeMounts"]),
        "every mount has its volume": mounts <= set(rendering.volumes) | claims,
        "every mounted secret can be read by its group alone":
            {volume.get("secret", volume.get("projected", {})).get("defaultMode", 0o440) for volume in pod["volumes"]} == {0o440},
        "the selector selects the pod": selector.items() <= rendering.template["metadata"]["labels"].items(),
        "the selector holds nothing that changes": set(selector) == SELECTOR,
        "a new chart alone restarts no pod": "helm.sh/chart" not in rendering.template["metadata"]["labels"],
        "callers' port is reachable over TLS and only then":
            ("grpc" in ports) == ("certificate_file = " in toml) == ('\naddress = "' in server),
        "every port of the pod has a Service, and each of a Service a pod": service_ports == ports,
        "the grace period outlasts the shutdown": pod["terminationGracePeriodSeconds"] >= 10 + drain_seconds(rendering),
        "probes ask the health port by different names": probes(container) == {
            "startupProbe": ("liveness", rendering.ports["health"]),
            "livenessProbe": ("liveness", rendering.ports["health"]),
            "readinessProbe": ("readiness", rendering.ports["health"]),
        },
        "no image is latest": not any(
            re.search(r"(^[^:@]+|/[^:@]+|:latest)$", one["image"]) for one in pod["containers"] + pod.get("initContainers", [])
        ),
    }


def object_rules(rendering: Rendering) -> dict[str, bool]:
    manifests = rendering.manifests
    selector = rendering.workload["spec"]["selector"]["matchLabels"]
    own = [one for one in manifests if one["metadata"].get("labels", {}).get("helm.sh/chart")]
    tests = [one for one in rendering.all("Pod") if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    services = rendering.all("Service")
    return {
        "names are their own": len(set(rendering.names)) == len(rendering.names),
        "names leave room for suffixes": all(
            len(one["metadata"]["name"]) <= (52 if one["kind"] in {"StatefulSet", "Deployment"} else 63)
            for one in manifests if one["kind"] not in {"ClusterRoleBinding", "Certificate"}
        ),
        "every object has the recommended labels": all(
            {f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of", "managed-by")}
            <= set(one["metadata"]["labels"]) for one in own
        ),
        "every object has its namespace": all(
            one["metadata"].get("namespace") for one in own if one["kind"] != "ClusterRoleBinding"
        ),
        "labels are no longer than they may be": all(
            len(value) <= 63 for one in own for value in one["metadata"]["labels"].values()
        ),
        "nothing selects the tests' pods": not any(
            selector.items() <= one["metadata"]["labels"].items() for one in tests
        ),
        "Services select the pod": all(one["spec"]["selector"] == selector for one in services),
        "only the headless Service has no address": [one["metadata"]["name"] for one in services if
            one["spec"].get("clusterIP") == "None"] == [rendering.workload["metadata"]["name"]],
        "Services never name pods that are not ready": not any(
            one["spec"].get("publishNotReadyAddresses") for one in services
        ),
        "every port says what it speaks": all("appProtocol" in port for one in services for port in one["spec"]["ports"]),
        "a budget is for more than one pod": "PodDisruptionBudget" not in rendering.kinds
            or rendering.workload["spec"].get("replicas", 2) > 1,
        "who scales has no number to undo it": ("HorizontalPodAutoscaler" in rendering.kinds)
            == ("replicas" not in rendering.workload["spec"]),
        "accounts mount no token": not any(one["automountServiceAccountToken"] for one in rendering.all("ServiceAccount")),
    }


def probes(container: dict) -> dict[str, tuple[str, int]]:
    names = ("startupProbe", "livenessProbe", "readinessProbe")
    return {name: (container[name]["grpc"]["service"], container[name]["grpc"]["port"]) for name in names}


def drain_seconds(rendering: Rendering) -> int:
    sleep = rendering.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    return sleep + sum(int(found) for found in re.findall(r'^drain_\w+ = "(\d+)s"', rendering.configuration, re.MULTILINE))


def has_token(pod: dict) -> bool:
    sources = [source for volume in pod["volumes"] for source in volume.get("projected", {}).get("sources", [])]
    return any("serviceAccountToken" in source for source in sources)
