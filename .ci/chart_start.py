"""Starts the real ticketd as the chart's manifests say, and probes it as the kubelet would.

For each value set of the chart: render it, lay out the container's mounts below a temporary directory, check the rendered
configuration, start the image's entrypoint with the rendered arguments and environment, ask the rendered probes, reach
each rendered port, run the rendered tests of `helm test`, end it with SIGTERM within the rendered grace period.

Ports are free ones, handed to the chart as values; a probe that asks a port other than the one ticketd binds therefore
fails. With --sandbox the value sets that have a test for a ticket get one, from SuperOffice's side simulated."""

import argparse
import concurrent.futures
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
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
from chart_material import CLIENT_SECRET, SYSTEM_USER_TOKEN, Material, inline, signing_key_public_pem

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
        environment = with_superoffice(machine, rendering, root, stack)
        with_local_database(machine, rendering, name)
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
        wait_for(machine.binary, pod, pod.container[probe], process)
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
        done = subprocess.run([machine.binary, *command[1:]], env={}, capture_output=True, text=True, timeout=60, check=False)
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


def with_superoffice(machine: Machine, rendering: Rendering, root: pathlib.Path, stack: contextlib.ExitStack) -> dict[str, str]:
    """Starts SuperOffice's side where a test asks for a ticket, and says where it is."""
    if not machine.sandbox or not any(manifest["metadata"]["name"].endswith("-ticket") for manifest in rendering.all("Pod")):
        return {}
    (root / "client-secret").write_bytes(CLIENT_SECRET)
    (root / "public.pem").write_bytes(signing_key_public_pem())
    [login, *_] = free_ports(8)
    command = [machine.sandbox, "--listen", f"127.0.0.1:{login}", "--tenant", f"Cust12345={SYSTEM_USER_TOKEN}"]
    command += ["--client-secret-file", root / "client-secret", "--partner-public-key", root / "public.pem"]
    sandbox = subprocess.Popen([*command, "--write-config", root / "sandbox"], stdout=subprocess.DEVNULL)
    stack.callback(sandbox.wait)
    stack.callback(sandbox.terminate)
    deadline = time.monotonic() + 60
    while not is_open(login):
        if sandbox.poll() is not None or time.monotonic() > deadline:
            raise Failed("the sandbox does not start")
        time.sleep(0.1)
    return {"TICKETD_SUPEROFFICE_ALLOW_CUSTOM_BASE_URL": "true", "TICKETD_SUPEROFFICE_BASE_URL": f"http://127.0.0.1:{login}"}


def with_local_database(machine: Machine, rendering: Rendering, name: str) -> None:
    """Puts a database of this machine in the place of the one that the rendered configuration names, if it does."""
    for data in [manifest["data"] for manifest in rendering.all("ConfigMap")]:
        for key, text in data.items():
            if "postgres://" in text:
                text = re.sub(r'postgres://[^"]*', machine.postgres("of_" + name.replace("-", "_")), text)
                data[key] = re.sub(r"^ca_file = .*/database-ca.*\n", "", text, flags=re.MULTILINE)


def start_postgres(stack: contextlib.ExitStack):
    """Starts a throwaway PostgreSQL that believes everybody, and answers what makes a database in it."""
    programs = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    if programs is None:
        raise SystemExit("PostgreSQL is needed (Debian: apt-get install postgresql)")
    directory = pathlib.Path(tempfile.mkdtemp())
    stack.callback(shutil.rmtree, directory)
    # It refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(directory, "postgres")
    [port] = free_ports(1)
    data = ["-D", directory / "data"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
    quiet = {"check": True, "cwd": "/", "stdout": subprocess.DEVNULL}
    subprocess.run([*user, programs / "initdb", *data, "-A", "trust", "-U", "postgres", "--no-sync"], **quiet)
    subprocess.run([*user, programs / "pg_ctl", *data, "-w", "-l", directory / "log", "-o", options, "start"], **quiet)
    stack.callback(subprocess.run, [*user, programs / "pg_ctl", *data, "-m", "immediate", "stop"], **quiet)

    @functools.cache
    def database(name: str) -> str:
        subprocess.run([programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", name], **quiet)
        return f"postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable"

    return database


def free_ports(count: int) -> list[int]:
    """Ports in a row, below those that the system gives to connections, so that none is taken meanwhile; each asked for once."""
    while True:
        first = next(PORTS_IN_ROWS)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return list(range(first, first + count))


PORTS_IN_ROWS = iter(range(20000 + os.getpid() % 500 * 20, 32000, 10))


if __name__ == "__main__":
    main()
