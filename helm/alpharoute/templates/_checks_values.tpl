{{/* Numbers, ports and names that are of the right kind and still cannot work. */}}

{{- define "alpharoute.checks.values" -}}
{{- include "alpharoute.checks.bounds" . -}}
{{- include "alpharoute.checks.ports" . -}}
{{- include "alpharoute.checks.labels" . -}}
{{- include "alpharoute.checks.memory" . -}}
{{- end }}

{{- define "alpharoute.checks.bounds" -}}
{{- range $name, $kind := .Values.accelerators -}}
{{- with $kind.replicas -}}
{{- if and .min .max (gt (int .min) (int .max)) -}}{{- fail (printf "accelerators.%s.replicas: min %v is above max %v" $name .min .max) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range $i, $scaling := .Values.engineScaling -}}
{{- $at := printf "engineScaling[%d] (%q)" $i $scaling.name -}}
{{- if has $scaling.name $names -}}{{- fail (printf "%s: the name is given twice" $at) -}}{{- end -}}
{{- $names = append $names $scaling.name -}}
{{- if gt (int $scaling.replicas.min) (int $scaling.replicas.max) -}}{{- fail (printf "%s: replicas.min %v is above replicas.max %v" $at $scaling.replicas.min $scaling.replicas.max) -}}{{- end -}}
{{- if and (eq "hpa" (default "keda" $scaling.kind)) (eq 0 (int $scaling.replicas.min)) -}}{{- fail (printf "%s: replicas.min 0: a HorizontalPodAutoscaler keeps one at the least, kind keda none" $at) -}}{{- end -}}
{{- end -}}
{{- end }}

{{/* (dict "at" the value's place "url" …): the port of a URL, if it names one. */}}
{{- define "alpharoute.checks.url" -}}
{{- $host := regexReplaceAll "^[a-z]+://([^/?#]*).*$" (default "" .url) "${1}" -}}
{{- $port := regexFind ":[0-9]*$" $host | trimPrefix ":" -}}
{{- if or (hasSuffix ":" $host) (and $port (or (lt (atoi $port) 1) (gt (atoi $port) 65535))) -}}{{- fail (printf "%s: %q has the port %q; ports are 1 to 65535" .at .url $port) -}}{{- end -}}
{{- end }}

{{- define "alpharoute.checks.ports" -}}
{{- range $i, $pool := .Values.pools -}}{{- range $j, $url := $pool.urls -}}
{{- include "alpharoute.checks.url" (dict "at" (printf "pools[%d].urls[%d]" $i $j) "url" $url) -}}
{{- end -}}{{- end -}}
{{- range $name, $source := .Values.models -}}{{- with $source.s3 -}}
{{- include "alpharoute.checks.url" (dict "at" (printf "models.%s.s3.endpoint" $name) "url" .endpoint) -}}
{{- end -}}{{- end -}}
{{- range $i, $scaling := .Values.engineScaling -}}
{{- include "alpharoute.checks.url" (dict "at" (printf "engineScaling[%d].prometheusUrl" $i) "url" $scaling.prometheusUrl) -}}
{{- end -}}
{{- include "alpharoute.checks.url" (dict "at" "tracing.endpoint" "url" .Values.tracing.endpoint) -}}
{{- range $i, $node := .Values.redis.external.sentinel.nodes -}}
{{- include "alpharoute.checks.url" (dict "at" (printf "redis.external.sentinel.nodes[%d]" $i) "url" $node) -}}
{{- end -}}
{{- $host := .Values.redis.external.host -}}
{{- if and $host (not (regexMatch "^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[[][0-9A-Fa-f:.]+[]])$" $host)) -}}{{- fail (printf "redis.external.host: %q is no host: a name or an address alone (IPv6 in brackets), the port is redis.external.port, TLS redis.external.tls" $host) -}}{{- end -}}
{{- $port := int .Values.admin.port -}}
{{- if and $port (lt $port 1024) -}}{{- fail (printf "admin.port %d: pods run without root, which ports below 1024 need; 0 leaves /admin beside the API" $port) -}}{{- end -}}
{{- $taken := dict "6379" "Ray's GCS" "8000" "the API" "8080" "Ray's metrics" "8265" "Ray's dashboard" "10001" "Ray's client server" "52365" "Ray's agent" -}}
{{- with get $taken (toString $port) -}}{{- fail (printf "admin.port %d is the port of %s: choose another, 9000 say" $port .) -}}{{- end -}}
{{- end }}

{{/* What objects are selected by is the chart's own: another value takes a pod out of its network policies. */}}
{{- define "alpharoute.checks.labels" -}}
{{- range $field := list "podLabels" "commonLabels" -}}
{{- range $key, $_ := index $.Values $field -}}
{{- if or (hasPrefix "ray.io/" $key) (hasPrefix "alpharoute/" $key) (has $key (list "app.kubernetes.io/part-of" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/name" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/created-by" "helm.sh/chart")) -}}{{- fail (printf "%s: %q is set by the chart or by KubeRay: services and network policies find pods by such labels" $field $key) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Redis counts its data only: buffers of clients and the copy while it writes its file come on top. */}}
{{- define "alpharoute.checks.memory" -}}
{{- if eq .Values.redis.mode "builtin" -}}
{{- $builtin := .Values.redis.builtin -}}
{{- $units := dict "kb" 1024.0 "mb" 1048576.0 "gb" 1073741824.0 -}}
{{- $unit := regexFind "[kmg]b$" $builtin.maxMemory -}}
{{- $wanted := mulf (trimSuffix $unit $builtin.maxMemory | float64) (get $units $unit) -}}
{{- with (default dict $builtin.resources.limits).memory -}}
{{- $most := mulf 0.75 (include "alpharoute.quantity" . | float64) -}}
{{- if gt $wanted $most -}}{{- fail (printf "redis.builtin.maxMemory %s in a pod of %v (redis.builtin.resources.limits.memory): no more than three quarters of it, or Redis is killed before it refuses writes" $builtin.maxMemory .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
