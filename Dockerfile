# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# A static binary needs nothing from the image it runs in. Naming the target keeps the flags away from build scripts and
# procedural macros, which cannot be static. glibc has the DNS and file lookups built in since 2.34.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    target="$(rustc --print host-tuple)" \
    && cargo build --locked --release --package ticketd --bin ticketd --target "$target" \
    && install -D "target/$target/release/ticketd" /image/ticketd \
    # Where SQLite sorts what is too large for its cache, and where the database is.
    && install -d -m 1777 /image/tmp \
    && install -d /image/var/lib && install -d -m 750 /data/ticketd \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && install -D -m 644 -t /image/usr/share/doc/ticketd LICENSE-MIT LICENSE-APACHE

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="ticketd" \
      org.opencontainers.image.description="Issues SuperOffice CRM Online system user tickets to internal services over gRPC" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
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
