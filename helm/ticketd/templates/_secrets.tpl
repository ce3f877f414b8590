{{/* The Secret that has what `of` names: a list of the context and one of the names in secrets.existingSecrets. */}}
{{- define "ticketd.secretOf" -}}
{{- $root := first . -}}
{{- $own := index $root.Values.secrets.existingSecrets (last .) -}}
{{- if $own -}}
{{- tpl $own $root -}}
{{- else if $root.Values.secrets.inline -}}
{{ include "ticketd.fullname" $root }}-inline
{{- else -}}
{{- tpl (required (printf "secrets.existingSecret is required: the Secret with the client secret, the private keys and the sealing keys (or secrets.existingSecrets.%s)" (last .)) $root.Values.secrets.existingSecret) $root -}}
{{- end -}}
{{- end -}}

{{/* The files below /etc/ticketd/secrets, as JSON: a list of {of, key, path}. */}}
{{- define "ticketd.secretFiles" -}}
{{- $files := list -}}
{{- with .Values.secrets.keys -}}
{{- $files = append $files (dict "of" "clientSecret" "key" .clientSecret "path" "client-secret") -}}
{{- range $index, $key := .signingKeys -}}
{{- $files = append $files (dict "of" "signingKeys" "key" $key "path" (printf "signing-key-%d" $index)) -}}
{{- end -}}
{{- with .signingKeyPassphrase -}}
{{- $files = append $files (dict "of" "signingKeys" "key" . "path" "signing-key-passphrase") -}}
{{- end -}}
{{- range $index, $key := .sealingKeys -}}
{{- $files = append $files (dict "of" "sealingKeys" "key" $key "path" (printf "sealing-key-%d" $index)) -}}
{{- end -}}
{{- with .auditKey -}}
{{- $files = append $files (dict "of" "auditKey" "key" . "path" "audit-key") -}}
{{- end -}}
{{- if $.Values.postgres.url -}}
{{- with .databasePassword -}}
{{- $files = append $files (dict "of" "database" "key" . "path" "database-password") -}}
{{- end -}}
{{- with .databaseCa -}}
{{- $files = append $files (dict "of" "database" "key" . "path" "database-ca.pem") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- mustToJson $files -}}
{{- end -}}

{{/* The sources of the volume with all of them. The kubelet keeps it up to date. */}}
{{- define "ticketd.secretSources" -}}
{{- $bySecret := dict -}}
{{- range include "ticketd.secretFiles" . | fromJsonArray -}}
{{- if and $.Values.secrets.inline (not (hasKey $.Values.secrets.inline .key)) -}}
{{- fail (printf "secrets.inline lacks %q, which secrets.keys names" .key) -}}
{{- end -}}
{{- $secret := include "ticketd.secretOf" (list $ .of) -}}
{{- $items := append (get $bySecret $secret | default list) (pick . "key" "path") -}}
{{- $_ := set $bySecret $secret $items -}}
{{- end -}}
{{- $sources := list -}}
{{- range $secret := keys $bySecret | sortAlpha -}}
{{- $sources = append $sources (dict "secret" (dict "name" $secret "items" (get $bySecret $secret))) -}}
{{- end -}}
{{- toYaml $sources -}}
{{- end -}}
