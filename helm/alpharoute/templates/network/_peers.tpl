{{/* Peers of a NetworkPolicy. */}}

{{/* The Ray pods of this release: (dict "root" $ "only" (list components)) */}}
{{- define "alpharoute.peers.pods" -}}
- podSelector:
    matchLabels:
      {{- include "alpharoute.selector" .root | nindent 6 }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: [{{ join ", " .only }}]}
{{- end }}

{{- define "alpharoute.podSelector" -}}
matchLabels:
  {{- include "alpharoute.selector" .root | nindent 2 }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [{{ join ", " .only }}]}
{{- end }}

{{/* Port of an http(s) URL. */}}
{{- define "alpharoute.portOf" -}}
{{- $parts := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $parts.host | trimPrefix ":" -}}
{{- default (ternary "443" "80" (eq $parts.scheme "https")) $port -}}
{{- end }}

{{- define "alpharoute.rule.ports" -}}
ports:
  {{- range . }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
{{- end }}
