{{/* The section [tls], as JSON. */}}
{{- define "ticketd.tls" -}}
{{- $tls := dict "certificate_file" "/etc/ticketd/tls/tls.crt" "key_file" "/etc/ticketd/tls/tls.key" -}}
{{- with .Values.tls.bundles -}}
{{- $bundles := "/etc/ticketd/bundles" -}}
{{- if or .trustDomains .dnsCa -}}
{{- $_ := required "tls.bundles.configMap is required with tls.bundles.trustDomains and tls.bundles.dnsCa" .configMap -}}
{{- $_ := set $tls "client_certificate" $.Values.tls.clientCertificate -}}
{{- range $domain, $key := .trustDomains -}}
{{- $_ := set $tls "trust_bundles" (append ($tls.trust_bundles | default list) (printf "%s=%s/%s" $domain $bundles $key)) -}}
{{- end -}}
{{- if .dnsCa -}}
{{- $_ := set $tls "dns_ca_file" (printf "%s/%s" $bundles .dnsCa) -}}
{{- end -}}
{{- range $key := .crls -}}
{{- $_ := set $tls "crl_files" (append ($tls.crl_files | default list) (printf "%s/%s" $bundles $key)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- mustToJson $tls -}}
{{- end -}}

{{/* policy.yaml. */}}
{{- define "ticketd.policy" -}}
{{- if not .Values.policy -}}
{{- fail "policy is required: which callers may do what, as docs/policy.md shows" -}}
{{- end -}}
{{- toYaml .Values.policy -}}
{{- end -}}

{{/*
ticketd.toml. The operator's sections with the chart's own keys over them. Values reach templates as JSON: its strings,
lists and booleans are TOML's as well, and its numbers are integers here.
*/}}
{{- define "ticketd.toml" -}}
{{- $secrets := "/etc/ticketd/secrets" -}}
{{- $superoffice := dict
    "environment" (required "config.superoffice.environment is required: sod, qaonline or online" .Values.config.superoffice.environment)
    "client_id" (required "config.superoffice.client_id is required: the application's client id" .Values.config.superoffice.client_id)
    "client_secret_file" (printf "%s/client-secret" $secrets)
    "signing_key_files" (list) -}}
{{- range $index, $key := .Values.secrets.keys.signingKeys -}}
{{- $_ := set $superoffice "signing_key_files" (append $superoffice.signing_key_files (printf "%s/signing-key-%d" $secrets $index)) -}}
{{- end -}}
{{- if .Values.secrets.keys.signingKeyPassphrase -}}
{{- $_ := set $superoffice "signing_key_passphrase_file" (printf "%s/signing-key-passphrase" $secrets) -}}
{{- end -}}
{{- $store := dict "url" "sqlite:///var/lib/ticketd/ticketd.db" "sealing_key_files" (list) -}}
{{- range $index, $key := .Values.secrets.keys.sealingKeys -}}
{{- $_ := set $store "sealing_key_files" (append $store.sealing_key_files (printf "%s/sealing-key-%d" $secrets $index)) -}}
{{- end -}}
{{- with .Values.postgres -}}
{{- if .url -}}
{{- $_ := set $store "url" .url -}}
{{- $_ := set $store "max_connections" .maxConnections -}}
{{- if .sessionUrl -}}
{{- $_ := set $store "session_url" .sessionUrl -}}
{{- end -}}
{{- if $.Values.secrets.keys.databasePassword -}}
{{- $_ := set $store "password_file" (printf "%s/database-password" $secrets) -}}
{{- end -}}
{{- if $.Values.secrets.keys.databaseCa -}}
{{- $_ := set $store "ca_file" (printf "%s/database-ca.pem" $secrets) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.tenants.existingSecret -}}
{{- $_ := set $store "tenants_directory" "/etc/ticketd/tenants" -}}
{{- end -}}
{{- $server := dict
    "unix_socket" "/run/ticketd/ticketd.sock"
    "health_address" (printf "%s:%d" .Values.health.host (int64 .Values.health.port))
    "drain_delay" (printf "%ds" (int64 .Values.shutdown.drainDelaySeconds))
    "drain_timeout" (printf "%ds" (int64 .Values.shutdown.drainTimeoutSeconds)) -}}
{{- $authorization := dict "policy_file" "/etc/ticketd/config/policy.yaml" -}}
{{- $own := dict "superoffice" $superoffice "store" $store "server" $server "authorization" $authorization -}}
{{- if include "ticketd.tlsSecret" . -}}
{{- $_ := set $server "address" (printf "%s:%d" .Values.grpc.host (int64 .Values.grpc.port)) -}}
{{- $_ := set $own "tls" (include "ticketd.tls" . | fromJson) -}}
{{- end -}}
{{- if .Values.admin.enabled -}}
{{- $_ := set $own "admin" (dict "address" (printf "%s:%d" .Values.admin.host (int64 .Values.admin.port))) -}}
{{- end -}}
{{- if .Values.http.enabled -}}
{{- $_ := set $own "http" (dict
    "address" (printf "%s:%d" .Values.http.host (int64 .Values.http.port))
    "public_url" (required "http.publicUrl is required with http.enabled: where browsers find the pages" .Values.http.publicUrl)) -}}
{{- end -}}
{{- if .Values.config.identity.issuer -}}
{{- $_ := required "tls.existingSecret or tls.certManager is required with config.identity.issuer: tokens are taken over TLS only" (include "ticketd.tlsSecret" .) -}}
{{- end -}}
{{- if eq (include "ticketd.asksApiServer" .) "true" -}}
{{- $_ := set $own "identity" (dict
    "jwks_url" "https://kubernetes.default.svc/openid/v1/jwks"
    "ca_file" "/etc/ticketd/kubernetes/ca.crt"
    "token_file" "/etc/ticketd/kubernetes/token") -}}
{{- end -}}
{{- $audit := dict "output" .Values.audit.output -}}
{{- if eq .Values.audit.output "file" -}}
{{- $_ := set $audit "path" "/var/log/ticketd/audit.jsonl" -}}
{{- end -}}
{{- if .Values.secrets.keys.auditKey -}}
{{- $_ := set $audit "hmac_key_file" (printf "%s/audit-key" $secrets) -}}
{{- end -}}
{{- $_ := set $own "audit" $audit -}}
{{- $config := deepCopy .Values.config -}}
{{- if $config.telemetry.log_filter -}}
{{- /* In a file of its own it changes without a restart. */ -}}
{{- $_ := set $own "telemetry" (dict "log_filter_file" "/etc/ticketd/config/log-filter") -}}
{{- $_ := unset $config.telemetry "log_filter" -}}
{{- end -}}
{{- range $section, $keys := mustMergeOverwrite $config $own }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ if kindIs "float64" $value }}{{ int64 $value }}{{ else }}{{ mustToJson $value }}{{ end }}
{{- end }}
{{ end }}
{{- end -}}
