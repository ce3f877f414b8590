# syntax=docker/dockerfile:1
# A release names it by digest: --build-arg BUILD_IMAGE=rust@sha256:…
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm

# hadolint ignore=DL3006
FROM ${BUILD_IMAGE} AS build
# Names the crates in the binary, for scanners of images.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo install --locked --quiet cargo-auditable --version 0.7.7
WORKDIR /build
# A static binary needs nothing from the image it runs in. glibc has the DNS and file lookups built in since 2.34. Paths
# of the machine that builds are not in the binary, so it is the same wherever it is built.
ENV RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/build=/ticketd --remap-path-prefix=/usr/local/cargo=/cargo" \
    TARGET_CFLAGS="-ffile-prefix-map=/build=/ticketd -ffile-prefix-map=/usr/local/cargo=/cargo" \
    CARGO_INCREMENTAL=0
# The dependencies, with empty sources in place of ours: a layer that changes with Cargo.lock only. Naming the target keeps
# the flags away from build scripts and procedural macros, which cannot be static.
COPY Cargo.toml Cargo.lock ./
COPY fuzz/Cargo.toml fuzz/
COPY sandbox/Cargo.toml sandbox/
# hadolint ignore=DL4006
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    target="$(rustc --print host-tuple)" \
    && mkdir -p src benches fuzz/src sandbox/src \
    && touch src/lib.rs benches/audit.rs benches/contenders.rs benches/crypto.rs benches/instructions.rs benches/scale.rs fuzz/src/lib.rs sandbox/src/lib.rs \
    && echo 'fn main() {}' | tee build.rs src/main.rs fuzz/src/engine.rs sandbox/src/main.rs \
    && cargo auditable build --locked --release --package ticketd --bin ticketd --target "$target" \
    # By the files' ages alone the empty sources could pass for ours.
    && cargo clean --locked --release --package ticketd --target "$target"
COPY build.rs ./
COPY proto proto
COPY src src
# The status page names it.
ARG REVISION
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    target="$(rustc --print host-tuple)" \
    && TICKETD_REVISION="$REVISION" cargo auditable build --locked --release --package ticketd --bin ticketd --target "$target" \
    && install -D "target/$target/release/ticketd" /image/ticketd
COPY .ci/licences.py .ci/
COPY LICENSE-MIT LICENSE-APACHE ./
# What changes with every release comes last. One time for all files makes the same layer of the same files.
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    documents=/image/usr/share/doc/ticketd \
    && python3 .ci/licences.py --output "$documents" \
    && install -m 644 -t "$documents" LICENSE-MIT LICENSE-APACHE \
    && install -D -m 644 -t /image/etc/ssl/certs /etc/ssl/certs/ca-certificates.crt \
    # Where SQLite sorts what is too large for its cache, and where the database is: the two that need a volume when the
    # root is read-only.
    && install -d -m 1777 /image/tmp \
    && install -d /image/var/lib && install -d -m 750 /data/ticketd \
    && find /image /data -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="ticketd" \
      org.opencontainers.image.description="Issues SuperOffice CRM Online system user tickets to internal services over gRPC" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.created="$CREATED"
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /data/ /var/lib/
# Neither root nor a name that would need /etc/passwd.
USER 65532:65532
# Callers over TLS, and health.
EXPOSE 8443 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/ticketd", "healthcheck"]
ENTRYPOINT ["/ticketd"]
CMD ["serve"]
