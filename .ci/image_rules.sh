#!/usr/bin/env bash
# What can be said of the image without building it: the Dockerfile by hadolint, that the build sees what it copies and
# nothing else, one version number, and a licence for each crate. .ci/image.sh builds it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/tools.sh

install_python_tools
"$python_tools/hadolint" Dockerfile

# COPY A B ./ copies A and B.
copied=$(sed -n 's/^COPY \([^-].*\) [^ ]*$/\1/p' Dockerfile | tr ' ' '\n' | sort)
# The first line that is no comment shuts everything out.
[[ "$(grep -v '^#' .dockerignore | head -1)" == "*" ]] || give_up ".dockerignore must begin with *"
diff <(grep -v '^#' .dockerignore | tail -n +2 | sed 's/^!//' | sort) <(echo "$copied") ||
  give_up ".dockerignore (<) must let in what the Dockerfile copies (>), and nothing else"
while read -r path; do
  [[ -n "$(git ls-files "$path")" ]] || give_up "Dockerfile copies $path, which is not there"
done <<<"$copied"

# The layer of the dependencies is built with an empty file for each target that the manifest names.
while read -r bench; do
  grep --quiet "benches/$bench.rs" Dockerfile || give_up "Dockerfile: touch benches/$bench.rs, which Cargo.toml names"
done < <(sed -n '/^\[\[bench\]\]/{n;s/^name = "\(.*\)"/\1/p}' Cargo.toml)

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
grep --quiet "^ARG VERSION=$version$" Dockerfile || give_up "Dockerfile: ARG VERSION must be Cargo.toml's, $version"

"$python_tools/python" .ci/licences.py
