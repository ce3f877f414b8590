"""What must hold for the chart and its rendered manifests, beyond what their schemas say."""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path("helm/ticketd")
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
}
SELECTOR = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}


def main() -> None:
    problems = undocumented_values() + drifted_configuration()
    for path in sys.argv[1:]:
        manifests = [manifest for manifest in yaml.safe_load_all(pathlib.Path(path).read_text()) if manifest]
        problems += [f"{path}: {problem}" for problem in broken_rules(manifests)]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(sys.argv) - 1} renderings keep the chart's rules")


def undocumented_values() -> list[str]:
    """Values without a line in the chart's README."""
    readme = (CHART / "README.md").read_text()
    names = leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
    return [f"README.md does not have `{name}`" for name in names if f"`{name}`" not in readme]


def leaves(values: dict, prefix: str = "") -> list[str]:
    names = []
    for key, value in values.items():
        opaque = prefix + key in {"resources", "podSecurityContext", "securityContext"}
        if isinstance(value, dict) and value and not opaque:
            names += leaves(value, f"{prefix}{key}.")
        else:
            names.append(prefix + key)
    return names


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


def broken_rules(manifests: list[dict]) -> list[str]:
    [stateful_set] = [manifest for manifest in manifests if manifest["kind"] == "StatefulSet"]
    template = stateful_set["spec"]["template"]
    pod = template["spec"]
    selector = stateful_set["spec"]["selector"]["matchLabels"]
    [container] = [container for container in pod["containers"] if container["name"] == "ticketd"]
    pod_security, security = pod["securityContext"], container["securityContext"]
    ports = {port["name"] for port in container["ports"]}
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    claims = {claim["metadata"]["name"] for claim in stateful_set["spec"].get("volumeClaimTemplates", [])}
    [config_map] = [manifest for manifest in manifests if manifest["kind"] == "ConfigMap"]
    toml = config_map["data"]["ticketd.toml"]
    is_postgres = 'url = "postgres' in toml
    server = toml.split("[server]")[1].split("\n[")[0]
    services = [manifest for manifest in manifests if manifest["kind"] == "Service"]
    rules = {
        "one pod at most has SQLite's file": is_postgres or stateful_set["spec"]["replicas"] <= 1,
        "a volume is SQLite's": not is_postgres or not (claims or "data" in mounts),
        "the pod is not root": pod_security["runAsNonRoot"] is True,
        "the pod has the runtime's seccomp profile": pod_security["seccompProfile"]["type"] == "RuntimeDefault",
        "no privilege escalation": security["allowPrivilegeEscalation"] is False,
        "no capabilities": security["capabilities"]["drop"] == ["ALL"],
        "the root file system is read-only": security["readOnlyRootFilesystem"] is True,
        "no token of the Kubernetes API but to verify callers' by": pod["automountServiceAccountToken"] is False
        and has_token(pod) == ('token_file = ' in config_map["data"]["ticketd.toml"]),
        "the right to ask about tokens only for those who ask": ("token_review = true" in config_map["data"]["ticketd.toml"])
        == any(manifest["kind"] == "ClusterRoleBinding" for manifest in manifests),
        "no secret in the environment": "env" not in container and "envFrom" not in container,
        "no mount by subPath": not any("subPath" in mount for mount in container["volumeMounts"]),
        "every mount has its volume": mounts <= {volume["name"] for volume in pod["volumes"]} | claims,
        "the selector selects the pod": selector.items() <= template["metadata"]["labels"].items(),
        "the selector holds nothing that changes": set(selector) == SELECTOR,
        "callers' port is reachable over TLS and only then": {"health"} <= ports <= {"grpc", "health", "http", "metrics"}
        and ("grpc" in ports) == ("certificate_file = " in toml) == ('\naddress = "' in server)
        and {port["targetPort"] for service in services for port in service["spec"]["ports"]} == ports,
        "names leave room for suffixes": len(stateful_set["metadata"]["name"]) <= 52,
        "the grace period outlasts the shutdown": pod["terminationGracePeriodSeconds"] >= 10,
    }
    return [f"broken: {rule}" for rule, holds in rules.items() if not holds]



def has_token(pod: dict) -> bool:
    sources = [source for volume in pod["volumes"] for source in volume.get("projected", {}).get("sources", [])]
    return any("serviceAccountToken" in source for source in sources)


main()
