#!/usr/bin/env bash
# deny.toml: licences, bans, sources, and known vulnerabilities where a database of them can be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/tools.sh

install_cargo_deny
cargo deny --locked --offline check licenses bans sources

databases="${CARGO_HOME:-$HOME/.cargo}/advisory-dbs"
if ! timeout 120 cargo deny --locked fetch db; then
  echo "The advisory database cannot be fetched."
fi
if compgen -G "$databases/*/.git" >/dev/null; then
  for database in "$databases"/*/; do
    echo "Advisories as of $(git -C "$database" log -1 --format=%cs):"
  done
  cargo deny --locked --offline check advisories
else
  echo "SKIPPED: known vulnerabilities (cargo deny check advisories): there is no advisory database on this machine."
fi
