"""The kubelet's part: a pod's volumes below a directory, its container's environment, its probes.

There is no container, so paths are mapped: the mount path /P becomes ROOT/P, in arguments and wherever a mounted file of
the release names a path below it."""

import pathlib
import re
import socket
import subprocess
import time

from chart_helm import Rendering
from chart_material import SYSTEM_USER_TOKEN, Material, names_below


class Pod:
    """One pod of a rendering, laid out below `root`."""

    def __init__(self, root: pathlib.Path, pod: dict, rendering: Rendering, material: Material) -> None:
        self.root, self.pod, self.rendering, self.material = root, pod, rendering, material
        [self.container] = [container for container in pod["containers"] if container["name"] == "ticketd"]
        self.volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            self._mount(mount)

    def command(self, entrypoint: list[str]) -> list[str]:
        """What the container runs: the image's entrypoint unless the manifest has another, then its arguments."""
        return [self.mapped(argument) for argument in (*self.container.get("command", entrypoint), *self.container.get("args", []))]

    def environment(self) -> dict[str, str]:
        found = {}
        for source in self.container.get("envFrom", []):
            if not source["configMapRef"].get("optional"):
                raise RuntimeError(f"nobody has {source}")
        for variable in self.container.get("env", []):
            found[variable["name"]] = self.mapped(variable["value"])
        return found

    def port(self, name: str | int) -> int:
        return name if isinstance(name, int) else {port["name"]: port["containerPort"] for port in self.container["ports"]}[name]

    def mapped(self, text: str) -> str:
        """Puts `root` before every mount path that begins a path in `text`."""
        paths = "|".join(re.escape(mount["mountPath"]) for mount in self.container.get("volumeMounts", []))
        if not paths:
            return text
        return re.sub(rf'(^|"|=|sqlite://)({paths})(?=/|"|$)', rf"\g<1>{self.root}\g<2>", text)

    def _mount(self, mount: dict) -> None:
        directory = self.root / mount["mountPath"].lstrip("/")
        volume = self.volumes.get(mount["name"], {"persistentVolumeClaim": {}})
        if "configMap" in volume:
            files = {path: self.mapped(content.decode()).encode() for path, content in self._config_map(volume["configMap"], mount).items()}
            project(directory, files)
        elif "secret" in volume:
            project(directory, self._secret(volume["secret"]["secretName"], volume["secret"].get("items")))
        elif "projected" in volume:
            project(directory, {path: content for source in volume["projected"]["sources"] for path, content in self._source(source).items()})
        else:
            directory.mkdir(parents=True, exist_ok=True)

    def _source(self, source: dict) -> dict[str, bytes]:
        if "serviceAccountToken" in source:
            return {source["serviceAccountToken"]["path"]: b"a.b.c\n"}
        if "configMap" in source:
            # kube-root-ca.crt, for an API server that is not there.
            return {item["path"]: self.material.authority_pem for item in source["configMap"]["items"]}
        return self._secret(source["secret"]["name"], source["secret"]["items"])

    def _config_map(self, config_map: dict, mount: dict) -> dict[str, bytes]:
        for own in self.rendering.all("ConfigMap"):
            if own["metadata"]["name"] == config_map["name"]:
                return {key: text.encode() for key, text in own["data"].items()}
        # Every other one is the operator's: authorities, under the names that the configuration has for them.
        names = names_below(mount["mountPath"], self.rendering.configuration)
        return {name: self.material.bundle(name) for name in names}

    def _secret(self, name: str, items: list[dict] | None) -> dict[str, bytes]:
        """By the paths that the items have for the Secret's keys; all of its keys when there are no items."""
        held = self._held(name)
        if held is None:
            encrypted = "signing-key-passphrase" in str(self.volumes)
            return {item["path"]: self.material.secret(item["path"], encrypted=encrypted) for item in items}
        return {item["path"]: held[item["key"]] for item in items} if items else held

    def _held(self, name: str) -> dict[str, bytes] | None:
        """What is in a Secret that is not only of the volume with secrets."""
        for own in self.rendering.all("Secret"):
            if own["metadata"]["name"] == name:
                return {key: text.encode() for key, text in own["stringData"].items()}
        for made in self.rendering.all("Certificate"):
            if made["spec"]["secretName"] == name:
                is_server = "server auth" in made["spec"]["usages"]
                return self.material.server(made["spec"]["dnsNames"]) if is_server else self.material.client(made["spec"]["uris"][0])
        mounted = {volume.get("secret", {}).get("secretName"): key for key, volume in self.volumes.items()}.get(name)
        if mounted == "tls":
            pair = self.material.server([])
            keys = {item["path"]: item["key"] for item in self.volumes["tls"]["secret"]["items"]}
            return {keys[path]: pair[path] for path in ("tls.crt", "tls.key")}
        if mounted == "tenants":
            return {"Cust12345": SYSTEM_USER_TOKEN.encode(), "Cust67890": SYSTEM_USER_TOKEN.encode()}
        return None


def project(directory: pathlib.Path, files: dict[str, bytes]) -> None:
    """Writes files as the kubelet does: links through `..data` to a directory that is swapped as a whole."""
    generation = directory / "..2026_01_01_00_00_00.000000000"
    generation.mkdir(parents=True)
    (directory / "..data").symlink_to(generation.name)
    for name, content in files.items():
        (generation / name).write_bytes(content)
        (generation / name).chmod(0o440)
        (directory / name).symlink_to(f"..data/{name}")


def wait_for(binary: pathlib.Path, pod: Pod, name: str, process: subprocess.Popen) -> None:
    """Asks as often and as patiently as the probe says. A pod that is not ready is asked again and again."""
    probe = pod.container[name]
    time.sleep(probe.get("initialDelaySeconds", 0))
    answer = None
    for _ in range(20 if name == "readinessProbe" else probe["failureThreshold"]):
        if process.poll() is not None:
            raise RuntimeError(f"it ended by itself with status {process.returncode}")
        answer = ask(binary, pod.port(probe["grpc"]["port"]), probe["grpc"]["service"], probe["timeoutSeconds"])
        if answer.returncode == 0:
            return
        time.sleep(probe["periodSeconds"])
    raise RuntimeError(f"the {name} {probe} fails: {answer.stdout}{answer.stderr}")


def ask(binary: pathlib.Path, port: int, service: str, timeout: int = 5) -> subprocess.CompletedProcess:
    # A busy machine takes longer to start the program that asks than a kubelet does.
    command = [binary, "healthcheck", "--address", f"http://127.0.0.1:{port}", "--service", service, "--timeout", f"{timeout + 4}s"]
    return subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=False)


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
