#!/usr/bin/env bash
# Makes a stand-in for the image that the Dockerfile builds in, of Debian's packages and this machine's Rust, for where
# no registry of images is within reach. It has what the Dockerfile needs of the real one, and nothing of this project.
# Sourced settings are image.sh's: where buildah keeps its images, and how it runs.
set -euo pipefail
name=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev,make,python3 bookworm "$work/root.tar"
mkdir "$work/root"
tar --extract --file "$work/root.tar" --directory "$work/root" --exclude './dev/*'
rm "$work/root.tar"

# Where the real image has them, whatever this machine does.
rustup_home=/usr/local/rustup
cargo_home=/usr/local/cargo

toolchain=$(rustc --print sysroot)
target=$(rustc --print host-tuple)
there="$work/root$rustup_home/toolchains/stable"
mkdir -p "$there"/{bin,lib/rustlib,share/doc} "$work/root$cargo_home/bin"
cp -a "$toolchain"/bin/{cargo,rustc} "$there/bin/"
cp -a "$toolchain"/lib/*.so* "$there/lib/"
cp -a "$toolchain/lib/rustlib/$target" "$there/lib/rustlib/"
mkdir "$there/share/doc/rust"
cp -a "$toolchain"/share/doc/rust/{COPYRIGHT-library.html,licenses} "$there/share/doc/rust/"
ln -s "$rustup_home"/toolchains/stable/bin/{cargo,rustc} "$work/root$cargo_home/bin/"

container=$(buildah from scratch)
buildah add --quiet "$container" "$work/root" / >/dev/null
buildah config --env "PATH=$cargo_home/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
  --env "CARGO_HOME=$cargo_home" --env "RUSTUP_HOME=$rustup_home" "$container"
# The crates come from where this machine has them from, over whatever it trusts on the way there: as cargo and OpenSSL are
# told, or as Debian keeps it.
authorities=${CARGO_HTTP_CAINFO:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
if [[ -r "$authorities" ]]; then
  buildah add --quiet "$container" "$authorities" "$cargo_home/machine-ca.crt" >/dev/null
  buildah config --env "CARGO_HTTP_CAINFO=$cargo_home/machine-ca.crt" "$container"
fi
buildah commit --quiet --rm "$container" "$name" >/dev/null
