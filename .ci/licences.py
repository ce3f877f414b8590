#!/usr/bin/env python3
"""The licences of what is in the binary: which crates, under which terms, and the texts, word for word.

Says what is missing, and fails then: a crate without a text, or whose texts do not grant what its manifest says. It asks
cargo alone, so it runs in the image's build and, without --output, as a check of its own.
"""
import argparse
import gzip
import html
import json
import re
import subprocess
import sys
from pathlib import Path

FILE = re.compile(r"(un)?licen[cs]e|copying|copyright|notice", re.IGNORECASE)
NOT_A_TEXT = {".rs", ".py", ".toml", ".json", ".html"}
# What each licence says and no other.
WORDS = {
    "Apache-2.0": "apache license version 2.0",
    "BSD-2-Clause": "redistribution and use in source and binary forms",
    "BSD-3-Clause": "neither the name",
    "BSL-1.0": "boost software license",
    "CC0-1.0": "cc0 1.0 universal",
    "CDLA-Permissive-2.0": "community data license agreement",
    "ISC": "permission to use, copy, modify, and/or distribute",
    "LLVM-exception": "llvm exceptions",
    "MIT": "permission is hereby granted, free of charge",
    "Unicode-3.0": "unicode license v3",
    "Unlicense": "this is free and unencumbered software released into the public domain",
    "Zlib": "this software is provided 'as-is', without any express or implied warranty",
}
# Packages without a text (sqlx's hold the name of the file instead), and the one of the same repository that has it.
SIBLINGS = {"sqlx-core": "sqlx", "sqlx-postgres": "sqlx", "sqlx-sqlite": "sqlx", "tonic-prost": "tonic"}
# What the binary has from the system that it is built on, by Debian's package.
SYSTEM = {"glibc": "libc6", "libgcc": "libgcc-s1", "Mozilla's root certificates": "ca-certificates"}
HEADER = """\
What is in ticketd's image beside ticketd, and the terms of each.

ticketd itself is MIT OR Apache-2.0: LICENSE-MIT and LICENSE-APACHE are beside this file. The GNU C library is linked in
statically, under the LGPL 2.1: ticketd's source and its Dockerfile are what it takes to link it to another one. Rust's
standard library is MIT OR Apache-2.0; what it contains is in rust-COPYRIGHT-library.html.gz.
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--output", type=Path, help="the directory to write the list to")
    output = arguments.parse_args().output
    target = run("rustc", "--print", "host-tuple").strip()
    crates = linked(target)
    texts = {name: texts_of(directory) for name, (_, _, directory) in crates.items()}
    apache = Path("LICENSE-APACHE").read_text(encoding="utf-8")
    missing = []
    for (name, version), (licence, _, _) in crates.items():
        if name in SIBLINGS or not texts[name, version]:
            texts[name, version] = lent(name, licence, texts, apache)
        if not granted(licence, " ".join(map(squeezed, texts[name, version]))):
            missing.append(f"{name} {version}: no text of {licence}")
    if missing:
        sys.exit("\n".join(["These crates' licences are not complete:", *missing]))
    print(f"{len(crates)} crates, {len(set(squeezed(text) for all in texts.values() for text in all))} texts")
    if output:
        output.mkdir(parents=True, exist_ok=True)
        write(output / "THIRD-PARTY-LICENSES.txt.gz", listing(crates, texts).encode())
        library = Path(run("rustc", "--print", "sysroot").strip(), "share/doc/rust/COPYRIGHT-library.html")
        write(output / "rust-COPYRIGHT-library.html.gz", library.read_bytes())


def write(path, content):
    """Compressed, as distributions have it: a megabyte less in the image. The same content makes the same file."""
    path.write_bytes(gzip.compress(content, mtime=0))


def linked(target):
    """The packages in the binary: licence, authors and directory of each name and version."""
    tree = run("cargo", "tree", "--locked", "--package", "ticketd", "--edges", "normal,no-proc-macro", "--target", target,
               "--prefix", "none", "--format", "{p}")
    named = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    metadata = json.loads(run("cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target))
    packages = sorted(metadata["packages"], key=lambda package: (package["name"], package["version"]))
    return {
        (package["name"], package["version"]): (
            package["license"] or "", package["authors"], Path(package["manifest_path"]).parent,
        )
        for package in packages
        if (package["name"], "v" + package["version"]) in named and package["source"]
    }


def texts_of(directory):
    files = sorted(file for file in directory.rglob("*") if FILE.match(file.name) and file.suffix not in NOT_A_TEXT)
    return [file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()]


def lent(name, licence, texts, apache):
    """Some packages leave the text out. The Apache licence is the same for all; MIT's names who grants it."""
    for (other, _), its in texts.items():
        if other == SIBLINGS.get(name):
            return its
    return [apache] if "Apache-2.0" in licence else []


def granted(expression, text):
    """Whether the texts have what the SPDX expression asks for: each of AND, one of OR."""
    tokens = re.findall(r"\(|\)|[\w.+-]+", expression.replace("/", " OR "))

    def one():
        token = tokens.pop(0)
        if token != "(":
            return token in WORDS and squeezed(WORDS[token]) in text
        inner = some_of()
        tokens.pop(0)
        return inner

    def all_of():
        holds = [one()]
        while tokens and tokens[0] in ("AND", "WITH"):
            tokens.pop(0)
            holds.append(one())
        return all(holds)

    def some_of():
        holds = [all_of()]
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            holds.append(all_of())
        return any(holds)

    return bool(tokens) and some_of()


def squeezed(text):
    """What a text says, whatever its lines and marks."""
    return re.sub(r"[\s,/*#;]+", " ", html.unescape(text).replace("http:", "").lower()).strip()


def listing(crates, texts):
    users = {}
    for crate, its in texts.items():
        for text in its:
            users.setdefault(squeezed(text), (text, []))[1].append(crate)
    parts = [HEADER, "\n".join(f"{name} {version}: {crates[name, version][0]}" for name, version in crates)]
    for text, crates_of in users.values():
        parts.append(f"{'-' * 80}\n{', '.join(f'{name} {version}' for name, version in crates_of)}\n\n{text.strip()}")
    for what, package in SYSTEM.items():
        copyright = Path("/usr/share/doc", package, "copyright").read_text(encoding="utf-8")
        parts.append(f"{'-' * 80}\n{what}, as Debian has it ({package})\n\n{copyright.strip()}")
    return "\n\n".join(parts) + "\n"


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    return done.stdout


if __name__ == "__main__":
    main()
