#!/usr/bin/env python3
"""Looks at a built image, and runs it as a cluster would: not as root, nothing to write to but its volumes, no rights.

In there it is asked for its health by the image's own HEALTHCHECK, and for a ticket of a tenant of the sandbox's.
"""
import argparse
import gzip
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

MAX_BYTES = 25 * 1024 * 1024
USER = "65532:65532"
DOCUMENTS = "usr/share/doc/ticketd"
FILES = {
    "ticketd",
    "etc/ssl/certs/ca-certificates.crt",
    f"{DOCUMENTS}/LICENSE-APACHE",
    f"{DOCUMENTS}/LICENSE-MIT",
    f"{DOCUMENTS}/THIRD-PARTY-LICENSES.txt.gz",
    f"{DOCUMENTS}/rust-COPYRIGHT-library.html.gz",
}
WRITABLE = {"tmp", "var/lib/ticketd"}
LABELS = ["title", "description", "licenses", "version", "revision", "source", "created"]
PATIENCE = 30


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--root", "--image", "--sbom", "--sandbox"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--revision", required=True)
    arguments = parser.parse_args()
    config = json.loads(arguments.image.read_text())["Docker"]["config"]
    check_config(config, arguments.revision)
    check_files(arguments.root)
    check_binary(arguments.root, json.loads(arguments.sbom.read_text()))
    # Whoever the cluster makes it, OpenShift's users of any number too.
    for user in (int(USER.split(":", maxsplit=1)[0]), 12345):
        run(arguments.root, config, arguments.sandbox.resolve(), user)


def check_config(config, revision):
    expected = {
        "User": USER,
        "Entrypoint": ["/ticketd"],
        "Cmd": ["serve"],
        "StopSignal": "SIGTERM",
    }
    for key, value in expected.items():
        ensure(config.get(key) == value, f"{key} is {config.get(key)}")
    ensure(config["Healthcheck"]["Test"] == ["CMD", "/ticketd", "healthcheck"], f"HEALTHCHECK {config['Healthcheck']}")
    labels = {label: config["Labels"].get(f"org.opencontainers.image.{label}") for label in LABELS}
    ensure(all(labels.values()), f"every label is set: {labels}")
    ensure(labels["revision"] == revision, f"the revision is {labels['revision']}")
    print("labels:", json.dumps(labels))


def check_files(root):
    found, total = set(), 0
    for path in sorted(root.rglob("*")):
        name, status = str(path.relative_to(root)), path.lstat()
        ensure(not status.st_mode & (stat.S_ISUID | stat.S_ISGID), f"{name} is setuid or setgid")
        ours = name in WRITABLE
        ensure(ours or status.st_uid == 0 and not status.st_mode & 0o022, f"{name} can be written to")
        if stat.S_ISDIR(status.st_mode):
            continue
        ensure(stat.S_ISREG(status.st_mode), f"{name} is no file")
        found.add(name)
        total += status.st_size
    ensure(found == FILES, f"files that should not be there, or are missing: {found ^ FILES}")
    ensure(total <= MAX_BYTES, f"the image has {total} bytes, more than {MAX_BYTES}")
    print(f"files: {total} bytes ({total / 1048576:.1f} MiB) of at most {MAX_BYTES}; no shell, no setuid, no symbolic link")


def check_binary(root, sbom):
    binary = (root / "ticketd").read_bytes()
    ensure(program_headers(binary).isdisjoint({3}), "the binary asks for an interpreter: it is not static")
    # target/release/build is cargo's own, below what the paths are mapped to.
    for path in (rb"(?<!release)/build/", rb"/usr/local/cargo", rb"/srv/elsewhere", rb"/root/"):
        ensure(not re.search(path, binary), f"the binary has {path.decode()} in it")
    packages = json.loads(zlib.decompress(section(binary, ".dep-v0")))["packages"]
    linked = {(package["name"], package["version"]) for package in packages if package.get("kind", "runtime") == "runtime"}
    linked = {package for package in linked if package[0] != "ticketd"}
    text = gzip.decompress((root / DOCUMENTS / "THIRD-PARTY-LICENSES.txt.gz").read_bytes()).decode()
    table = set(re.findall(r"^([\w-]+) (\d\S*): ", text.split("\n" + "-" * 80)[0], re.MULTILINE))
    # cargo-auditable also names macros, and what only features of the workspace's other packages need.
    ensure(len(table) > 100 and table <= linked, f"licences of what is not linked: {sorted(table - linked)}")
    components = {(part["name"], part["version"]) for part in sbom["components"] if part.get("purl", "").startswith("pkg:cargo/")}
    ensure(components >= linked, f"the bill of materials misses {sorted(linked - components)}")
    print(f"binary: static, {len(binary)} bytes; {len(table)} crates with licences, {len(linked)} named in it and in the bill of materials")


def program_headers(binary):
    offset, = struct.unpack_from("<Q", binary, 32)
    size, count = struct.unpack_from("<HH", binary, 54)
    return {struct.unpack_from("<I", binary, offset + index * size)[0] for index in range(count)}


def section(binary, wanted):
    """A section of a 64-bit ELF file."""
    offset, = struct.unpack_from("<Q", binary, 40)
    size, count, names = struct.unpack_from("<HHH", binary, 58)
    headers = [struct.unpack_from("<IIQQQQ", binary, offset + index * size) for index in range(count)]
    for name, _, _, _, start, length in headers:
        begin = headers[names][4] + name
        if binary[begin:binary.index(b"\0", begin)] == wanted.encode():
            return binary[start:start + length]
    sys.exit(f"the binary has no section {wanted}")


def run(root, config, sandbox, user):
    work = Path(tempfile.mkdtemp(prefix="ticketd-image-"))
    container = f"ticketd-image-{os.getpid()}-{user}"
    processes = []
    try:
        processes.append(subprocess.Popen([sandbox, "--write-config", work / "sandbox"], stdout=subprocess.PIPE))
        await_that("the sandbox has written its files", lambda: (work / "sandbox/ticketd.toml").exists())
        for path in [work, *work.rglob("*")]:
            os.chown(path, user, user)
        (work / "bundle").mkdir()
        (work / "bundle/config.json").write_text(json.dumps(bundle(root, config, work / "sandbox", user)))
        started = time.monotonic()
        log = (work / "log").open("wb")
        processes.append(subprocess.Popen(["runc", "run", "--bundle", work / "bundle", container], stdout=log, stderr=log))
        inside = ["runc", "exec", "--user", f"{user}:{user}", container]
        health = config["Healthcheck"]["Test"][1:]
        await_that("HEALTHCHECK answers", lambda: succeeds([*inside, *health]), work / "log")
        ready = time.monotonic() - started
        ticket = subprocess.run([*inside, "/ticketd", "ticket", "get", "Cust12345", "--address", "http://127.0.0.1:8443"],
                                stdout=subprocess.PIPE, text=True, check=False)
        ensure(ticket.returncode == 0 and "running" in ticket.stdout, f"no ticket: {ticket.stdout}")
        status = Path(f"/proc/{json.loads(output('runc', 'state', container))['pid']}/status").read_text()
        for line in (f"Uid:\t{user}\t{user}", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"):
            ensure(line in status, f"{line} is not in {status}")
        memory = re.search(r"VmRSS:\s*(\d+)", status)[1]
        subprocess.run(["runc", "kill", container, config["StopSignal"]], check=True)
        code = processes[-1].wait(PATIENCE)
        ensure(code == 0, f"it ended with {code}:\n{(work / 'log').read_text()}")
        print(f"run as {user}, read-only, without capabilities: healthy after {ready * 1000:.0f} ms (a start and an exec of runc's "
              f"included), a ticket from the sandbox, {int(memory) // 1024} MiB, drained")
    finally:
        subprocess.run(["runc", "delete", "--force", container], stderr=subprocess.DEVNULL, check=False)
        for process in processes:
            process.terminate()
            process.wait()
        shutil.rmtree(work)


def bundle(root, config, sandbox, user):
    environment = {
        "TICKETD_CONFIG": sandbox / "ticketd.toml",
        "TICKETD_STORE_URL": "sqlite:///var/lib/ticketd/ticketd.db",
        "TICKETD_SERVER_ALLOW_UNIDENTIFIED_CALLERS": "true",
        "TICKETD_SERVER_DRAIN_DELAY": "0s",
    }
    volume = ["nosuid", "nodev", "noexec", f"uid={user}", f"gid={user}", "mode=750"]
    nothing = {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")}
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": True},
        "process": {
            "user": {"uid": user, "gid": user},
            "args": [*config["Entrypoint"], *config["Cmd"]],
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": "/",
            "capabilities": nothing,
            "noNewPrivileges": True,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": volume},
            {"destination": "/var/lib/ticketd", "type": "tmpfs", "source": "tmpfs", "options": volume},
            {"destination": str(sandbox), "type": "bind", "source": str(sandbox), "options": ["bind", "ro"]},
        ],
        # Not the network: the sandbox is on the same loopback interface.
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }


def await_that(what, holds, log=None):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        ensure(time.monotonic() < deadline, f"{what}: not within {PATIENCE} s\n{log.read_text() if log else ''}")
        time.sleep(0.02)


def succeeds(command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def ensure(holds, otherwise):
    if not holds:
        sys.exit(otherwise)


if __name__ == "__main__":
    main()
