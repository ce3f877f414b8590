"""The chart without a cluster: it renders what Kubernetes takes, refuses what it must, and says what is true.

chart_check.py --helm HELM --helm-before HELM --validate KUBERNETES-VALIDATE"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import chart_assertions
import chart_readme
import chart_refusals
import chart_rules
import chart_upgrade
import yaml
from chart_helm import CHART, VALUE_SETS, Helm, value_set

VERSIONS = ["1.27", *(f"1.{minor}" for minor in range(30, 38))]
# Value sets that ask for what 1.27 has not: sleeping before the end, and staying near.
LATER = {"drain"}
# Kinds of operators', whose schemas Kubernetes has not. chart_rules.py has what is known of them.
CUSTOM = ("cert-manager.io/", "monitoring.coreos.com/", "cilium.io/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--helm", required=True)
    parser.add_argument("--helm-before", required=True)
    parser.add_argument("--validate", required=True)
    arguments = parser.parse_args()
    helm, before = Helm(arguments.helm), Helm(arguments.helm_before)
    problems = []
    for check in (
        lambda: chart(helm, before),
        lambda: renderings(helm, before),
        lambda: schemas(helm, arguments.validate),
        lambda: asserted(helm),
        lambda: refused(helm, before),
        lambda: upgraded(helm),
    ):
        started = time.monotonic()
        said, found = check()
        print(f"{said} ({time.monotonic() - started:.1f} s)")
        problems += found
    if problems:
        sys.exit("\n".join(problems))


def chart(helm: Helm, before: Helm) -> tuple[str, list[str]]:
    found = chart_rules.chart_problems()
    readme = (CHART / "README.md").read_text()
    if chart_readme.with_table(readme) != readme:
        found.append("helm/ticketd/README.md is not up to date: python3 .ci/chart_readme.py --write")
    for one in (helm, before):
        one.run("lint", "--strict", "--quiet", CHART, "-f", CHART / "ci" / "production.yaml")
    versions = " and ".join(one.run("version", "--short").strip().split("+")[0] for one in (helm, before))
    return f"Helm {versions} lint the chart; its README has every value", found


def renderings(helm: Helm, before: Helm) -> tuple[str, list[str]]:
    """Every value set keeps the rules, and both versions of Helm make the same of it."""
    found = []
    sets = [{"values": value_set(path.stem), "options": {}} for path in VALUE_SETS]
    helm.render_all(sets)
    before.render_all(sets)
    for path in VALUE_SETS:
        rendering, other = helm.render(value_set(path.stem)), before.render(value_set(path.stem))
        found += [f"{path}: broken: {rule}" for rule in chart_rules.broken_rules(rendering)]
        if by_name(rendering) != by_name(other):
            found.append(f"{path}: the versions of Helm do not make the same of it")
    return f"{len(VALUE_SETS)} value sets keep the chart's rules and the restricted Pod Security Standard", found


def by_name(rendering) -> dict:
    return {(one["kind"], one["metadata"]["name"]): one for one in rendering.manifests}


def schemas(helm: Helm, validate: str) -> tuple[str, list[str]]:
    """Each version of Kubernetes knows every field of every object."""
    everywhere, later = {}, {}
    for path in VALUE_SETS:
        for one in helm.render(value_set(path.stem)).manifests:
            if not one["apiVersion"].startswith(CUSTOM):
                (later if path.stem in LATER else everywhere)[json.dumps(one, sort_keys=True)] = one
    with tempfile.TemporaryDirectory() as directory:
        files = [pathlib.Path(directory) / name for name in ("everywhere.yaml", "later.yaml")]
        for file, manifests in zip(files, (everywhere, later)):
            file.write_text(yaml.safe_dump_all(manifests.values()))

        def check(version: str) -> list[str]:
            wanted = files if version in VERSIONS[1:] else files[:1]
            command = [validate, "--strict", "--quiet", "-k", version, *wanted]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return [f"Kubernetes {version}: {done.stdout}{done.stderr}"] if done.returncode else []

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            found = [problem for problems in pool.map(check, VERSIONS) for problem in problems]
    return f"Kubernetes {', '.join(VERSIONS)} know every field of {len(everywhere | later)} objects", found


def asserted(helm: Helm) -> tuple[str, list[str]]:
    count, found = chart_assertions.failures(helm)
    return f"{count} assertions on what is rendered", found


def refused(helm: Helm, before: Helm) -> tuple[str, list[str]]:
    found = chart_refusals.taken(helm, chart_refusals.REFUSED)
    # Another implementation of JSON schema: some of each kind show that it reads the same.
    some = chart_refusals.REFUSED[::4]
    found += [f"Helm before: {problem}" for problem in chart_refusals.taken(before, some)]
    return f"{len(chart_refusals.REFUSED)} bad values refused, {len(some)} of them by the Helm before as well", found


def upgraded(helm: Helm) -> tuple[str, list[str]]:
    count, found = chart_upgrade.problems(helm)
    return f"{count} objects of earlier versions keep what nobody can change", found


if __name__ == "__main__":
    main()
