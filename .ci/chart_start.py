"""Starts the real ticketd as the chart's manifests say, and probes it as the kubelet would.

For each value set of the chart: render it, lay out the container's mounts below a temporary directory, check the rendered
configuration, start the image's entrypoint with the rendered arguments and environment, ask the rendered probes, reach
each rendered port, run the rendered tests of `helm test`, end it with SIGTERM within the rendered grace period.

Ports are free ones, handed to the chart as values; a probe that asks a port other than the one ticketd binds therefore
fails. With --sandbox the value sets that have a test for a ticket get one, from SuperOffice's side simulated."""

import argparse
import concurrent.futures
import contextlib
import json
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from chart_helm import VALUE_SETS, Helm, Rendering, value_set, with_values
from chart_kubelet import Pod, ask, is_open, wait_for
from chart_material import Material, inline
from chart_surroundings import free_ports, start_postgres, with_local_database, with_superoffice

PORTS = ("grpc", "health", "admin", "http")


class Failed(Exception):
    """Why a rendering does not start ticketd."""


class Machine:
    """What all value sets share: the programs, and a PostgreSQL."""

    def __init__(self, arguments: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        self.helm = Helm(arguments.helm)
        self.binary = arguments.binary.resolve(strict=True)
        self.sandbox = arguments.sandbox and arguments.sandbox.resolve(strict=True)
        self.entrypoint = json.loads(re.search(r"^ENTRYPOINT (.*)$", pathlib.Path("Dockerfile").read_text(), re.MULTILINE)[1])
        self.postgres = start_postgres(stack)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--helm", default="helm", help="the helm to render with")
    parser.add_argument("--sandbox", type=pathlib.Path, help="the superoffice-sandbox to get tickets from")
    parser.add_argument("--values", action="append", help="names of value sets instead of all")
    parser.add_argument("binary", type=pathlib.Path, help="the ticketd to start")
    arguments = parser.parse_args()
    names = arguments.values or [path.stem for path in VALUE_SETS]
    # Most of the time goes by waiting for the drain.
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(6) as pool:
        machine = Machine(arguments, stack)
        running = {pool.submit(start, machine, name): name for name in names}
        failed = []
        for done in concurrent.futures.as_completed(running):
            try:
                print(f"{running[done]}: {done.result()}", flush=True)
            except Failed as failure:
                failed.append(f"{running[done]}: {failure}")
    if failed:
        raise SystemExit("\n".join(failed))
    print(f"{len(names)} renderings start ticketd")


def start(machine: Machine, name: str) -> str:
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        material = Material()
        values = local(value_set(name), material)
        root = pathlib.Path(directory)
        rendering = machine.helm.render(values)
        environment = with_superoffice(machine.sandbox, rendering, root, stack)
        with_local_database(machine.postgres, rendering, name)
        pod = Pod(root / "pod", rendering.pod, rendering, material)
        [entrypoint, *arguments] = pod.command(machine.entrypoint)
        if entrypoint != machine.entrypoint[0]:
            raise Failed(f"the image has no {entrypoint}")
        environment |= pod.environment()
        check = [machine.binary, "check-config", *arguments[1:]]
        checked = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            raise Failed(f"check-config refuses the rendered configuration:\n{checked.stdout}{checked.stderr}")
        log = root / "log"
        with log.open("wb") as output:
            # Its own directory is one that it cannot need.
            process = subprocess.Popen([machine.binary, *arguments], env=environment, cwd=root, stdout=output, stderr=output)
            try:
                return run(machine, pod, process, material)
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                raise Failed(f"{error}\n{log.read_text(errors='replace')}") from error
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                process.wait()


def run(machine: Machine, pod: Pod, process: subprocess.Popen, material: Material) -> str:
    started = time.monotonic()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        wait_for(machine.binary, pod, probe, process)
    ready = time.monotonic() - started
    # A health check that cannot fail proves nothing.
    if ask(machine.binary, pod.port(pod.container["readinessProbe"]["grpc"]["port"]), "no-such-service").returncode == 0:
        raise RuntimeError("healthcheck succeeds for a service that does not exist")
    reach(pod, material)
    tests = run_tests(machine, pod, material)
    stopping = time.monotonic()
    process.send_signal(signal.SIGTERM)
    hook = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    status = process.wait(timeout=pod.pod["terminationGracePeriodSeconds"] - hook)
    if status != 0:
        raise RuntimeError(f"SIGTERM ended it with status {status}")
    return f"ready in {ready:.1f} s, {len(pod.container['ports'])} ports, {tests} tests, ended in {time.monotonic() - stopping:.1f} s"


def reach(pod: Pod, material: Material) -> None:
    """Every port of the container is listened on, by what its name says."""
    for port in pod.container["ports"]:
        if not is_open(port["containerPort"]):
            raise RuntimeError(f"nobody listens on the container's port {port}")
    names = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
    if "metrics" in names:
        for path in ("/livez", "/readyz", *monitored(pod.rendering)):
            # A busy machine is given time. What is no success is an error.
            urllib.request.urlopen(f"http://127.0.0.1:{names['metrics']}{path}", timeout=30).close()
    if "http" in names:
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{names['http']}/", timeout=30).close()
    if "grpc" in names:
        context = ssl.create_default_context(cadata=material.authority_pem.decode())
        context.set_alpn_protocols(["h2"])
        # TLS 1.3 asks for the client's certificate after the server has shown its own.
        with socket.create_connection(("127.0.0.1", names["grpc"]), timeout=30) as connection:
            with context.wrap_socket(connection, server_hostname="localhost") as secured:
                if secured.selected_alpn_protocol() != "h2":
                    raise RuntimeError("the callers' port does not speak HTTP/2")


def monitored(rendering: Rendering) -> list[str]:
    """The paths that Prometheus is told to read at the port `metrics`."""
    endpoints = [one["spec"].get("endpoints", []) + one["spec"].get("podMetricsEndpoints", []) for one in rendering.manifests
                 if one["kind"] in {"ServiceMonitor", "PodMonitor"}]
    return [endpoint["path"] for some in endpoints for endpoint in some if endpoint["port"] == "metrics"]


def run_tests(machine: Machine, pod: Pod, material: Material) -> int:
    """What `helm test` would run, against what the Services lead to."""
    count = 0
    for manifest in pod.rendering.all("Pod"):
        name = manifest["metadata"]["name"]
        if re.search("-(ticket|denied)$", name) and not machine.sandbox:
            continue
        test = Pod(pod.root.parent / name, manifest["spec"], pod.rendering, material)
        command = [leads_to(argument, pod) for argument in test.command(machine.entrypoint)]
        for _ in range(10):
            done = subprocess.run([machine.binary, *command[1:]], env={}, capture_output=True, text=True, timeout=60, check=False)
            # On a busy machine the database or the simulated SuperOffice may be late: then it says to ask again.
            if not re.search("Unavailable|DeadlineExceeded", done.stderr):
                break
        if done.returncode != 0:
            raise RuntimeError(f"{name} fails: {command}: {done.stdout}{done.stderr}")
        count += 1
    return count


def leads_to(argument: str, pod: Pod) -> str:
    """The address that a Service's name and port stand for in this release."""
    address = re.fullmatch(r"(https?)://([a-z0-9-]+)\.crm\.svc:(\d+)", argument)
    if not address:
        return argument
    ports = pod.rendering.one("Service", address[2])["spec"]["ports"]
    [target] = [port["targetPort"] for port in ports if port["port"] == int(address[3])]
    return f"{address[1]}://localhost:{pod.port(target)}"


def local(values: dict, material: Material) -> dict:
    """The same values with ports that are free here, and secrets that can be used."""
    values = with_values(values, {f"{name}.port": port for name, port in zip(PORTS, free_ports(len(PORTS)))})
    if values["secrets"].get("inline"):
        values["secrets"]["inline"] = inline(values, material)
    return values


if __name__ == "__main__":
    main()
