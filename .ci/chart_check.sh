#!/usr/bin/env bash
# The chart without a cluster: it lints, renders what Kubernetes takes, refuses what it must, and says what is true.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/tools.sh

chart=helm/ticketd
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

for binary in "$helm" "$helm_before"; do
  "$binary" version --short
  for values in "$chart"/ci/*.yaml; do
    "$binary" lint --strict --quiet "$chart" -f "$values"
    "$binary" template release "$chart" -f "$values" >"$rendered/$(basename "$values")"
  done
  for version in 1.27 1.30 1.33 1.35 1.37; do
    "$python_tools/kubernetes-validate" --strict --quiet -k "$version" "$rendered"/*.yaml
  done
  "$python_tools/python" .ci/chart_rules.py "$rendered"/*.yaml
done

# Each of these, set on values that are good otherwise, has to be refused.
refused=(
  replicas=2
  policy=null
  policy.apiVersion=policy/v2
  "policy.callers[0].rpcs={GetSystemTickets}"
  "policy.callers[0].rpcs={*}"
  "policy.callers[0].tenants={*,Cust1}"
  "policy.callers[0].deny=true"
  typo=1
  secrets.clientSecret=inline
  secrets.existingSecret=
  secrets.keys.signingKeys=null
  secrets.keys.sealingKeys=null
  config.superoffice.environment=prod
  config.superoffice.client_id=
  config.superoffice.client_secret_file=/tmp/secret
  config.server.address=0.0.0.0:8443
  config.server.drain_delay=1s
  config.store.url=sqlite:///tmp/x
  postgres.url=sqlite:///tmp/x
  postgres.url=postgres://ticketd:password@db/ticketd
  "postgres.url=postgres://ticketd@db/ticketd?sslmode=require"
  postgres.maxConnections=0
  config.http.address=0.0.0.0:80
  config.admin.address=0.0.0.0:80
  admin.port=82
  config.identity.issuer=https://kubernetes.default.svc.cluster.local
  config.identity.token_review=true
  "config.identity.issuer=x,config.identity.audience=ticketd"
  config.identity.token_file=/tmp/token
  "tls.existingSecret=tls,config.identity.jwks_url=http://issuer.example.com,config.identity.issuer=x,config.identity.audience=ticketd"
  "tls.existingSecret=tls,config.identity.jwks_url=https://issuer.example.com,config.identity.issuer=x,config.identity.audience=ticketd,config.identity.token_review=true"
  http.enabled=true
  http.publicUrl=http://tickets.example.com
  http.publicUrl=https://tickets.example.com/path
  config.tickets.lifetime=6
  config.tickets.capacity=0
  config.tickets.unknown=1
  grpc.port=443
  config.server.unix_socket=/tmp/x
  config.server.allow_unidentified_callers=true
  config.tls.key_file=/tmp/x
  tls.clientCertificate=never
  tls.bundles.trustDomains.Corp=corp.pem
  tls.bundles.dnsCa=a/b
  image.digest=latest
  "persistence.accessModes={ReadWriteMany}"
)
for setting in "${refused[@]}"; do
  if "$helm" template release "$chart" -f "$chart/ci/minimal.yaml" --set "$setting" >/dev/null 2>&1; then
    echo "The chart takes --set $setting" >&2
    exit 1
  fi
done
echo "${#refused[@]} bad values refused"
