"""Renders the chart, as its checks want it: what Helm says, and what it refuses."""

import concurrent.futures
import copy
import functools
import json
import os
import pathlib
import subprocess
import tempfile

import yaml

CHART = pathlib.Path("helm/ticketd")
VALUE_SETS = sorted((CHART / "ci").glob("*.yaml"))
# What a cluster has in whose objects the chart takes part.
OPERATORS = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/ServiceMonitor",
             "monitoring.coreos.com/v1/PrometheusRule")


class Refused(Exception):
    """Helm's words."""


class Rendering:
    """What one set of values makes, with its parts at hand."""

    def __init__(self, text: str) -> None:
        self.manifests = [manifest for manifest in yaml.safe_load_all(text) if manifest]

    def all(self, kind: str) -> list[dict]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> dict:
        [found] = [one for one in self.all(kind) if name in (None, one["metadata"]["name"])]
        return found

    @property
    def kinds(self) -> set[str]:
        return {manifest["kind"] for manifest in self.manifests}

    @property
    def names(self) -> list[tuple[str, str]]:
        return [(manifest["kind"], manifest["metadata"]["name"]) for manifest in self.manifests]

    @property
    def workload(self) -> dict:
        [found] = self.all("StatefulSet") + self.all("Deployment")
        return found

    @property
    def template(self) -> dict:
        return self.workload["spec"]["template"]

    @property
    def pod(self) -> dict:
        return self.template["spec"]

    @property
    def container(self) -> dict:
        [found] = [container for container in self.pod["containers"] if container["name"] == "ticketd"]
        return found

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def volumes(self) -> dict[str, dict]:
        return {volume["name"]: volume for volume in self.pod["volumes"]}

    @property
    def mounts(self) -> dict[str, str]:
        return {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}

    @property
    def configuration(self) -> str:
        return next(one["data"]["ticketd.toml"] for one in self.all("ConfigMap") if "ticketd.toml" in one["data"])


class Helm:
    """One version of Helm. What it said of some values it is not asked again."""

    def __init__(self, binary: str) -> None:
        self.binary = binary
        self.outcome = functools.cache(self._outcome)

    def render(self, values: dict, **options: object) -> Rendering:
        return Rendering(self.text(values, **options))

    def text(self, values: dict, **options: object) -> str:
        outcome = self.outcome(json.dumps(values, sort_keys=True), **options)
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    def render_all(self, cases: list[dict]) -> None:
        """Renders them side by side, for `render` to find."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for case in cases:
                pool.submit(self.outcome, json.dumps(case["values"], sort_keys=True), **case["options"])

    def _outcome(
        self, values: str, *, release: str = "release", namespace: str = "crm", kubernetes: str = "1.35.0",
        operators: bool = False, apis: tuple[str, ...] = (), notes: bool = False, chart: str = str(CHART),
    ) -> str | Refused:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(values)
            file.flush()
            command = [self.binary, "install" if notes else "template", release, chart, "-n", namespace, "-f", file.name]
            command += ["--dry-run=client"] if notes else ["--kube-version", kubernetes]
            for api in (*apis, *(OPERATORS if operators else ())):
                command += ["--api-versions", api]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Refused(done.stderr) if done.returncode else done.stdout

    def run(self, *arguments: object) -> str:
        done = subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Refused(done.stdout + done.stderr)
        return done.stdout


def value_set(name: str) -> dict:
    return yaml.safe_load((CHART / "ci" / f"{name}.yaml").read_text())


def with_values(base: dict, changes: dict[str, object]) -> dict:
    """`base` with values set at dotted paths; a key that has dots itself is written with slashes between keys."""
    values = copy.deepcopy(base)
    for path, value in changes.items():
        *sections, key = path.split("/" if "/" in path else ".")
        place = values
        for section in sections:
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
        place[key] = value
    return values
