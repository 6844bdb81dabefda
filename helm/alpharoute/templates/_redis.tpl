{{/* Where Redis is and how its clients find it. */}}

{{- define "alpharoute.redis.name" -}}{{ include "alpharoute.fullname" . }}-redis{{- end }}

{{- define "alpharoute.redis.secret" -}}
{{- if .Values.redis.existingSecret -}}{{ .Values.redis.existingSecret }}
{{- else if eq .Values.redis.mode "builtin" -}}{{ include "alpharoute.redis.name" . }}
{{- end -}}
{{- end }}

{{- define "alpharoute.redis.prefix" -}}
{{- default (printf "%s.%s" .Release.Namespace .Release.Name) .Values.redis.prefix | trunc 64 -}}
{{- end }}

{{- define "alpharoute.redis.host" -}}
{{- if eq .Values.redis.mode "builtin" -}}{{ include "alpharoute.redis.name" . }}.{{ .Release.Namespace }}.svc
{{- else -}}{{ .Values.redis.external.host }}
{{- end -}}
{{- end }}

{{- define "alpharoute.redis.port" -}}
{{- ternary 6379 (int .Values.redis.external.port) (eq .Values.redis.mode "builtin") -}}
{{- end }}

{{- define "alpharoute.redis.tls" -}}
{{- if and (eq .Values.redis.mode "external") .Values.redis.external.tls.enabled -}}true{{- end -}}
{{- end }}

{{/* URL for the routers and engines; login and authority come by variables of their own. */}}
{{- define "alpharoute.redis.url" -}}
{{- $external := .Values.redis.external -}}
{{- $scheme := ternary "rediss" "redis" (eq "true" (include "alpharoute.redis.tls" .)) -}}
{{- $database := ternary 0 (int $external.database) (eq .Values.redis.mode "builtin") -}}
{{- if and (eq .Values.redis.mode "external") $external.sentinel.nodes -}}
{{- printf "%s+sentinel://%s/%s/%d" $scheme (join "," $external.sentinel.nodes) $external.sentinel.master $database -}}
{{- else -}}
{{- printf "%s://%s:%s/%d" $scheme (include "alpharoute.redis.host" .) (include "alpharoute.redis.port" .) $database -}}
{{- end -}}
{{- end }}

{{/* Variables for the routers and engines. */}}
{{- define "alpharoute.redis.env" -}}
{{- $external := .Values.redis.external -}}
- name: ALPHAROUTE_REDIS__URL
  value: {{ include "alpharoute.redis.url" . | quote }}
{{- with include "alpharoute.redis.secret" . }}
- name: ALPHAROUTE_REDIS__PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.redis.passwordKey | quote }}}
{{- end }}
{{- if eq .Values.redis.mode "external" }}
{{- with $external.username }}
- name: ALPHAROUTE_REDIS__USERNAME
  value: {{ . | quote }}
{{- end }}
{{- with $external.sentinel.passwordKey }}
- name: ALPHAROUTE_REDIS__SENTINEL_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $.Values.redis.existingSecret | quote }}, key: {{ . | quote }}}
{{- end }}
{{- if $external.tls.caSecret }}
- name: ALPHAROUTE_REDIS__CA_FILE
  value: /etc/alpharoute/redis-ca/ca.crt
- name: RAY_REDIS_CA_CERT
  value: /etc/alpharoute/redis-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{/* Where Ray's own state goes; Ray finds the master through any of the sentinels. */}}
{{- define "alpharoute.redis.gcsAddress" -}}
{{- $scheme := ternary "rediss://" "redis://" (eq "true" (include "alpharoute.redis.tls" .)) -}}
{{- $nodes := .Values.redis.external.sentinel.nodes -}}
{{- if and (eq .Values.redis.mode "external") $nodes -}}{{ $scheme }}{{ first $nodes }}
{{- else -}}{{ printf "%s%s:%s" $scheme (include "alpharoute.redis.host" .) (include "alpharoute.redis.port" .) }}
{{- end -}}
{{- end }}
