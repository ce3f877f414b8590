"""What ticketd finds around it on this machine: free ports, a PostgreSQL, and SuperOffice's side simulated."""

import contextlib
import functools
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

from chart_helm import Rendering
from chart_kubelet import is_open
from chart_material import CLIENT_SECRET, SYSTEM_USER_TOKEN, signing_key_public_pem


def with_superoffice(sandbox: pathlib.Path | None, rendering: Rendering, root: pathlib.Path, stack: contextlib.ExitStack) -> dict[str, str]:
    """Starts SuperOffice's side where a test asks for a ticket, and says where it is."""
    if not sandbox or not any(manifest["metadata"]["name"].endswith("-ticket") for manifest in rendering.all("Pod")):
        return {}
    (root / "client-secret").write_bytes(CLIENT_SECRET)
    (root / "public.pem").write_bytes(signing_key_public_pem())
    [login, *_] = free_ports(8)
    command = [sandbox, "--listen", f"127.0.0.1:{login}", "--tenant", f"Cust12345={SYSTEM_USER_TOKEN}"]
    command += ["--client-secret-file", root / "client-secret", "--partner-public-key", root / "public.pem"]
    process = subprocess.Popen([*command, "--write-config", root / "sandbox"], stdout=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    deadline = time.monotonic() + 60
    while not is_open(login):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the sandbox does not start")
        time.sleep(0.1)
    return {"TICKETD_SUPEROFFICE_ALLOW_CUSTOM_BASE_URL": "true", "TICKETD_SUPEROFFICE_BASE_URL": f"http://127.0.0.1:{login}"}


def with_local_database(postgres, rendering: Rendering, name: str) -> None:
    """Puts a database of this machine in the place of the one that the rendered configuration names, if it does."""
    for data in [manifest["data"] for manifest in rendering.all("ConfigMap")]:
        for key, text in data.items():
            if "postgres://" in text:
                text = re.sub(r'postgres://[^"]*', postgres("of_" + name.replace("-", "_")), text)
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
