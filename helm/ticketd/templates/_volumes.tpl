{{/* The pod's volumes. What is mounted from them changes without a restart. */}}
{{- define "ticketd.volumes" -}}
- name: config
  configMap:
    name: {{ include "ticketd.fullname" . }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- include "ticketd.secretSources" . | nindent 6 }}
{{- if eq (include "ticketd.asksApiServer" .) "true" }}
# For the cluster's keys, by which callers' tokens are verified. The kubelet renews the token.
- name: kubernetes
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
{{- end }}
{{- with .Values.tenants.existingSecret }}
- name: tenants
  secret:
    secretName: {{ tpl . $ }}
    defaultMode: 0440
{{- end }}
{{- if include "ticketd.tlsSecret" . }}
- name: tls
  secret:
    secretName: {{ include "ticketd.tlsSecret" . }}
    defaultMode: 0440
    items:
      - key: {{ ternary "tls.crt" .Values.tls.keys.certificate .Values.tls.certManager.enabled }}
        path: tls.crt
      - key: {{ ternary "tls.key" .Values.tls.keys.privateKey .Values.tls.certManager.enabled }}
        path: tls.key
{{- with .Values.tls.bundles.configMap }}
- name: bundles
  configMap:
    name: {{ tpl . $ }}
{{- end }}
{{- end }}
- name: socket
  emptyDir:
    sizeLimit: 1Mi
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if eq .Values.audit.output "file" }}
- name: audit
  emptyDir:
    sizeLimit: {{ .Values.audit.sizeLimit }}
{{- end }}
{{- if .Values.postgres.url }}
{{- else if not .Values.persistence.enabled }}
- name: data
  emptyDir: {}
{{- else if .Values.persistence.existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ tpl .Values.persistence.existingClaim . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ include "ticketd.yaml" (list $ .) }}
{{- end }}
{{- end -}}
