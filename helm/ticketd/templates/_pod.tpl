{{/* The pod's template, of a StatefulSet and of a Deployment. */}}
{{- define "ticketd.podTemplate" -}}
metadata:
  # Without the chart's version: a new one that changes nothing of the pod restarts none.
  labels:
    {{- include "ticketd.podLabels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: ticketd
    # ticketd reads its configuration and the database's password once. What else is mounted it reads again when it changes.
    checksum/config: {{ include "ticketd.toml" . | sha256sum }}
    {{- if and .Values.postgres.url .Values.secrets.inline }}
    checksum/database-password: {{ get .Values.secrets.inline .Values.secrets.keys.databasePassword | default "" | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- include "ticketd.yaml" (list $ .) | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "ticketd.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.shutdown }}
  terminationGracePeriodSeconds: {{ add .preStopSleepSeconds .drainDelaySeconds .drainTimeoutSeconds 10 }}
  {{- end }}
  securityContext:
    {{- include "ticketd.securityContext" (list . .Values.podSecurityContext) | nindent 4 }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- include "ticketd.yaml" (list $ .) | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "ticketd.container" . | nindent 6 | trim }}
    {{- with .Values.extraContainers }}
    {{- include "ticketd.yaml" (list $ .) | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "ticketd.volumes" . | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- include "ticketd.yaml" (list $ .) | nindent 4 }}
  {{- end }}
  {{- if eq (include "ticketd.kind" .) "Deployment" }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $counted := dict "labelSelector" (dict "matchLabels" (include "ticketd.selectorLabels" $ | fromYaml)) "matchLabelKeys" (list "pod-template-hash") }}
    - {{ toYaml (merge (deepCopy .) (ternary dict $counted (hasKey . "labelSelector"))) | nindent 6 | trim }}
    {{- end }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "ticketd.container" -}}
name: ticketd
image: {{ include "ticketd.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
  - --config
  - /etc/ticketd/config/ticketd.toml
  {{- with .Values.extraArgs }}
  {{- include "ticketd.yaml" (list $ .) | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnv }}
env:
  {{- include "ticketd.yaml" (list $ .) | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- include "ticketd.yaml" (list $ .) | nindent 2 }}
{{- end }}
ports:
  {{- if include "ticketd.tlsSecret" . }}
  - name: grpc
    containerPort: {{ .Values.grpc.port }}
  {{- end }}
  - name: health
    containerPort: {{ .Values.health.port }}
  {{- if .Values.admin.enabled }}
  - name: metrics
    containerPort: {{ .Values.admin.port }}
  {{- end }}
  {{- if .Values.http.enabled }}
  - name: http
    containerPort: {{ .Values.http.port }}
  {{- end }}
# Alive means that the process turns; ready, that it can answer. Neither asks SuperOffice.
{{- range $probe, $service := dict "startup" "liveness" "liveness" "liveness" "readiness" "readiness" }}
{{ $probe }}Probe:
  grpc:
    port: {{ $.Values.health.port }}
    service: {{ $service }}
  {{- toYaml (index $.Values.probes $probe) | nindent 2 }}
{{- end }}
{{- if .Values.shutdown.preStopSleepSeconds }}
{{- if not (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail "shutdown.preStopSleepSeconds takes Kubernetes 1.30 or later" }}
{{- end }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .Values.shutdown.preStopSleepSeconds }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "ticketd.securityContext" (list . .Values.securityContext) | nindent 2 }}
# No subPath: files mounted by it never change.
volumeMounts:
  - name: config
    mountPath: /etc/ticketd/config
    readOnly: true
  - name: secrets
    mountPath: /etc/ticketd/secrets
    readOnly: true
  {{- if eq (include "ticketd.asksApiServer" .) "true" }}
  - name: kubernetes
    mountPath: /etc/ticketd/kubernetes
    readOnly: true
  {{- end }}
  {{- if .Values.tenants.existingSecret }}
  - name: tenants
    mountPath: /etc/ticketd/tenants
    readOnly: true
  {{- end }}
  {{- if include "ticketd.tlsSecret" . }}
  - name: tls
    mountPath: /etc/ticketd/tls
    readOnly: true
  {{- if .Values.tls.bundles.configMap }}
  - name: bundles
    mountPath: /etc/ticketd/bundles
    readOnly: true
  {{- end }}
  {{- end }}
  # The callers' containers mount it too.
  - name: socket
    mountPath: /run/ticketd
  {{- if not .Values.postgres.url }}
  - name: data
    mountPath: /var/lib/ticketd
  {{- end }}
  {{- if eq .Values.audit.output "file" }}
  - name: audit
    mountPath: /var/log/ticketd
  {{- end }}
  # Where SQLite sorts what is too large for its cache.
  - name: tmp
    mountPath: /tmp
  {{- with .Values.extraVolumeMounts }}
  {{- include "ticketd.yaml" (list $ .) | nindent 2 }}
  {{- end }}
{{- end -}}
