"""Starts the real ticketd as the chart's manifests say, and probes it as the kubelet would.

For each values file of the chart: render it, lay out the container's mounts below a temporary directory, check the
rendered configuration, start the binary with the rendered arguments, ask the rendered probes, end it with SIGTERM.

There is no container, so paths are mapped: the mount path /P becomes ROOT/P, in the arguments and wherever the rendered
ticketd.toml names a path below it. Ports are free ones, handed to the chart as values; a probe that asks a port other
than the one ticketd binds therefore fails.
"""

import argparse
import base64
import contextlib
import datetime
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

CHART = pathlib.Path("helm/ticketd")
PASSPHRASE = "a passphrase for tests"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--helm", default="helm", help="the helm to render with")
    parser.add_argument("--values", action="append", help="values files instead of the chart's ci/*.yaml")
    parser.add_argument("binary", type=pathlib.Path, help="the ticketd to start")
    arguments = parser.parse_args()
    binary = arguments.binary.resolve(strict=True)
    files = arguments.values or sorted(str(path) for path in (CHART / "ci").glob("*.yaml"))
    for values in files:
        with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
            run(arguments.helm, binary, values, pathlib.Path(directory), stack)
    print(f"{len(files)} renderings start ticketd")


def run(helm: str, binary: pathlib.Path, values: str, root: pathlib.Path, stack: contextlib.ExitStack) -> None:
    manifests = render(helm, values)
    with_local_database(manifests, stack)
    [stateful_set] = [manifest for manifest in manifests if manifest["kind"] == "StatefulSet"]
    pod = stateful_set["spec"]["template"]["spec"]
    [container] = [container for container in pod["containers"] if container["name"] == "ticketd"]
    lay_out(root, pod, container, manifests)
    mapped = [map_path(argument, container, root) for argument in container["args"]]
    environment = {variable["name"]: variable["value"] for variable in container.get("env", [])}

    check = subprocess.run([binary, "check-config", *mapped[1:]], env=environment, capture_output=True, text=True)
    if check.returncode != 0:
        raise SystemExit(f"{values}: check-config refuses the rendered configuration:\n{check.stdout}{check.stderr}")

    log = root / "log"
    with log.open("wb") as output:
        # Its own directory is one that it cannot need.
        process = subprocess.Popen([binary, *mapped], env=environment, cwd=root, stdout=output, stderr=output)
        try:
            started = time.monotonic()
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                wait_for(binary, container[name], process)
            ready = time.monotonic() - started
            expect_failure(binary, container["readinessProbe"]["grpc"]["port"])
            stopping = time.monotonic()
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=pod["terminationGracePeriodSeconds"])
            if status != 0:
                raise RuntimeError(f"SIGTERM ended it with status {status}")
            print(f"{values}: ready in {ready:.1f} s, ended in {time.monotonic() - stopping:.1f} s")
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            raise SystemExit(f"{values}: {error}\n{log.read_text(errors='replace')}") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def render(helm: str, values: str) -> list[dict]:
    grpc, health, admin = free_ports(3)
    command = [helm, "template", "release", str(CHART), "-f", values]
    command += ["--set", f"grpc.port={grpc}", "--set", f"health.port={health}", "--set", f"admin.port={admin}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [manifest for manifest in yaml.safe_load_all(output) if manifest]


def with_local_database(manifests: list[dict], stack: contextlib.ExitStack) -> None:
    """Puts a server of this machine in the place of the PostgreSQL that the rendered configuration names, if it does."""
    for data in [manifest["data"] for manifest in manifests if manifest["kind"] == "ConfigMap"]:
        for name, text in data.items():
            if "postgres://" in text:
                url = f"postgres://postgres@127.0.0.1:{start_postgres(stack)}/postgres?sslmode=disable"
                text = re.sub(r'postgres://[^"]*', url, text)
                data[name] = re.sub(r"^ca_file = .*\n", "", text, flags=re.MULTILINE)


def start_postgres(stack: contextlib.ExitStack) -> int:
    """Starts a throwaway PostgreSQL that believes everybody, and answers its port."""
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
    return port


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]


def lay_out(root: pathlib.Path, pod: dict, container: dict, manifests: list[dict]) -> None:
    """Makes each mount of the container below `root`."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        directory = root / mount["mountPath"].lstrip("/")
        volume = volumes.get(mount["name"], {})
        if "configMap" in volume:
            own = [
                manifest["data"]
                for manifest in manifests
                if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"] == volume["configMap"]["name"]
            ]
            # Every other one is the operator's: authorities, under the names that the configuration has for them.
            text = next(manifest["data"]["ticketd.toml"] for manifest in manifests if manifest["kind"] == "ConfigMap")
            names = re.findall(re.escape(mount["mountPath"]) + r'/([^"]+)', text)
            files = own[0] if own else {name: certificate(is_authority=True)[0].decode() for name in names}
            project(directory, {name: map_path(file, container, root).encode() for name, file in files.items()})
        elif "secret" in volume:
            encrypted = any("passphrase" in item["path"] for item in volume["secret"].get("items", []))
            items = volume["secret"].get("items", [{"path": "Cust12345"}, {"path": "Cust67890"}])
            files = {item["path"]: secret(item["path"], encrypted) for item in items}
            if "tls.crt" in files:
                files["tls.crt"], files["tls.key"] = certificate(is_authority=False)
            project(directory, files)
        elif "projected" in volume:
            # The kubelet's: ticketd's own token, and the root certificates of the API server, which is not there.
            project(directory, {"token": b"a.b.c\n", "ca.crt": certificate(is_authority=True)[0]})
        else:
            directory.mkdir(parents=True)


def project(directory: pathlib.Path, files: dict[str, bytes]) -> None:
    """Writes files as the kubelet does: links through `..data` to a directory that is swapped as a whole."""
    generation = directory / "..2026_01_01_00_00_00.000000000"
    generation.mkdir(parents=True)
    (directory / "..data").symlink_to(generation.name)
    for name, content in files.items():
        (generation / name).write_bytes(content)
        (generation / name).chmod(0o440)
        (directory / name).symlink_to(f"..data/{name}")


def map_path(text: str, container: dict, root: pathlib.Path) -> str:
    """Puts `root` before every mount path that begins a path in `text`."""
    paths = "|".join(re.escape(mount["mountPath"]) for mount in container["volumeMounts"])
    return re.sub(rf'(^|"|=|sqlite://)({paths})(?=/|"|$)', rf"\g<1>{root}\g<2>", text)


def secret(name: str, encrypted: bool) -> bytes:
    """What an operator would have put there."""
    if name.startswith("signing-key-passphrase"):
        return f"{PASSPHRASE}\n".encode()
    if name.startswith("signing-key-"):
        return private_key(encrypted)
    if name.startswith("sealing-key-"):
        return base64.b64encode(os.urandom(32)) + b"\n"
    if name == "audit-key":
        return b"0123456789abcdef0123456789abcdef"
    if name == "client-secret":
        return b"0123456789abcdef0123456789abcdef\n"
    return b"Application Name-8k8Q7DmBgo\n"


def certificate(*, is_authority: bool) -> tuple[bytes, bytes]:
    """A certificate that vouches for itself, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return made.public_bytes(pem), key.private_bytes(pem, form, none)


def private_key(encrypted: bool) -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if encrypted:
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE.encode()),
        )
    # The format that the Developer Portal hands out.
    numbers = key.private_numbers()
    elements = {
        "Modulus": numbers.public_numbers.n,
        "Exponent": numbers.public_numbers.e,
        "P": numbers.p,
        "Q": numbers.q,
        "DP": numbers.dmp1,
        "DQ": numbers.dmq1,
        "InverseQ": numbers.iqmp,
        "D": numbers.d,
    }
    xml = "".join(
        f"<{name}>{base64.b64encode(number.to_bytes((number.bit_length() + 7) // 8, 'big')).decode()}</{name}>"
        for name, number in elements.items()
    )
    return f"<RSAKeyValue>{xml}</RSAKeyValue>".encode()


def wait_for(binary: pathlib.Path, probe: dict, process: subprocess.Popen) -> None:
    """Asks as often and as patiently as the probe says."""
    answer = None
    for _ in range(probe.get("failureThreshold", 3)):
        if process.poll() is not None:
            raise RuntimeError(f"it ended by itself with status {process.returncode}")
        answer = ask(binary, probe["grpc"]["port"], probe["grpc"]["service"])
        if answer.returncode == 0:
            return
        time.sleep(probe["periodSeconds"])
    raise RuntimeError(f"the probe {probe} fails: {answer.stdout}{answer.stderr}")


def expect_failure(binary: pathlib.Path, port: int) -> None:
    """A health check that cannot fail proves nothing."""
    if ask(binary, port, "no-such-service").returncode == 0:
        raise RuntimeError("healthcheck succeeds for a service that does not exist")


def ask(binary: pathlib.Path, port: int, service: str) -> subprocess.CompletedProcess:
    command = [binary, "healthcheck", "--address", f"http://127.0.0.1:{port}", "--service", service]
    return subprocess.run(command, env={}, capture_output=True, text=True, timeout=30)


if __name__ == "__main__":
    main()
