{{/* The chart's name. */}}
{{- define "ticketd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The objects' name. A StatefulSet's pods and revisions get suffixes, Services too, and labels end at 63 characters. */}}
{{- define "ticketd.fullname" -}}
{{- $name := include "ticketd.name" . -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $full = .Release.Name -}}
{{- end -}}
{{- $full = $full | trunc 52 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "%q cannot be a Service's name: set fullnameOverride to lower-case letters, digits and hyphens, beginning with a letter" $full) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{/* What never changes in an object's life. */}}
{{- define "ticketd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ticketd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ticketd.labels" -}}
{{ include "ticketd.chartLabel" . }}
{{ include "ticketd.podLabels" . }}
{{- end -}}

{{- define "ticketd.podLabels" -}}
{{ include "ticketd.commonLabels" . }}
{{ include "ticketd.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{/* Of pods that no selector of ticketd's may find. */}}
{{- define "ticketd.testLabels" -}}
{{ include "ticketd.chartLabel" . }}
{{ include "ticketd.commonLabels" . }}
{{ include "ticketd.testSelectorLabels" . }}
app.kubernetes.io/component: test
{{- end -}}

{{- define "ticketd.testSelectorLabels" -}}
app.kubernetes.io/name: {{ printf "%s-test" (include "ticketd.name" . | trunc 58 | trimSuffix "-") }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ticketd.chartLabel" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "ticketd.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ticketd
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ticketd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ticketd.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ticketd.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Values of YAML in which strings may be templates: a list of the context and the value. */}}
{{- define "ticketd.yaml" -}}
{{- tpl (toYaml (last .)) (first .) -}}
{{- end -}}

{{/* One pod, whose place is a volume, or as many as the database stands. */}}
{{- define "ticketd.kind" -}}
{{- ternary "Deployment" "StatefulSet" (not (empty .Values.postgres.url)) -}}
{{- end -}}

{{/* How many pods there are at least. */}}
{{- define "ticketd.pods" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled | int64 -}}
{{- end -}}

{{/* The Secret with the certificate; empty without TLS. */}}
{{- define "ticketd.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ include "ticketd.fullname" . }}-tls
{{- else -}}
{{- tpl .Values.tls.existingSecret . -}}
{{- end -}}
{{- end -}}

{{/* Whether callers' tokens are verified by the API server's keys. */}}
{{- define "ticketd.asksApiServer" -}}
{{- and (not (empty .Values.config.identity.issuer)) (empty .Values.config.identity.jwks_url) -}}
{{- end -}}

{{/* Whether the cluster is OpenShift, as it says or the values do. */}}
{{- define "ticketd.isOpenShift" -}}
{{- if or (eq .Values.openshift.adaptSecurityContext "force") (.Capabilities.APIVersions.Has "security.openshift.io/v1") -}}
true
{{- end -}}
{{- end -}}

{{/* A security context without what OpenShift chooses itself: a list of the context and the security context. */}}
{{- define "ticketd.securityContext" -}}
{{- $root := first . -}}
{{- $adapt := $root.Values.openshift.adaptSecurityContext -}}
{{- $security := last . -}}
{{- if and (ne $adapt "disabled") (include "ticketd.isOpenShift" $root) -}}
{{- $security = omit $security "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $security -}}
{{- end -}}

{{/* Whether an object of a kind that the cluster may not have is made: a list of the context, the mode and the kind. */}}
{{- define "ticketd.renders" -}}
{{- $known := (first .).Capabilities.APIVersions.Has (last .) -}}
{{- $mode := index . 1 -}}
{{- if and (eq $mode "failIfMissing") (not $known) -}}
{{- fail (printf "the cluster has no %s: install its operator, or set renderMode" (last .)) -}}
{{- end -}}
{{- if or $known (eq $mode "alwaysRender") -}}
true
{{- end -}}
{{- end -}}
