{{/* serveConfigV2: the product's settings and how many replicas of each deployment there are. */}}

{{/* One pool as router.config.settings wants it. Replica counts are not in it: they stand under `deployments`, because a
     change of `args` makes Serve restart every deployment and a change there only the one it names. That a pool sleeps
     must be: its replicas leave word when they end, and the routers call it back. */}}
{{- define "alpharoute.pool" -}}
{{- $pool := . -}}
{{- $own := pick $pool "name" "model" "engine" "target" "drafter" "method" "k_max" "urls" "loras" -}}
{{- if hasKey $pool "drainSeconds" -}}{{- $_ := set $own "drain_s" $pool.drainSeconds -}}{{- end -}}
{{- with $pool.replicas -}}
{{- if .idleSeconds -}}
{{- $scaling := dict "idle_s" .idleSeconds "idle_requests" (include "alpharoute.idleRequests" . | float64) -}}
{{- if hasKey . "upDelaySeconds" -}}{{- $_ := set $scaling "up_delay_s" .upDelaySeconds -}}{{- end -}}
{{- $_ := set $own "autoscaling" $scaling -}}
{{- end -}}
{{- end -}}
{{- if $pool.apiKeySecret -}}{{- $_ := set $own "api_key_env" (include "alpharoute.engineKeyName" $pool) -}}{{- end -}}
{{- toYaml (merge $own (default dict $pool.settings)) -}}
{{- end }}

{{/* The variable that carries the key of an engine outside Ray. */}}
{{- define "alpharoute.engineKeyName" -}}
ENGINE_KEY_{{ .name | upper | replace "-" "_" }}
{{- end }}

{{- define "alpharoute.auth" -}}
{{- if .Values.auth.allowAnonymous }}
allow_anonymous: true
{{- else }}
redis_keys: {{ .Values.auth.redisKeys }}
{{- if .Values.auth.existingSecret }}
keys_file: {{ printf "/etc/alpharoute/keys/%s" .Values.auth.key | quote }}
{{- end }}
{{- end }}
metrics_for: {{ .Values.auth.metricsFor }}
{{- end }}

{{/* The settings: what the values say of the product, over `settings` for the rest. What every pod needs for itself,
     where Redis is, comes by environment, so that `alpharoute keys` in a pod finds it too. */}}
{{- define "alpharoute.settings" -}}
{{- $pools := list -}}
{{- range .Values.pools -}}{{- $pools = append $pools (include "alpharoute.pool" . | fromYaml) -}}{{- end -}}
{{- $router := dict "engine_host" "node" "drain_s" .Values.router.drainSeconds "max_ongoing_requests" .Values.router.maxOngoingRequests -}}
{{- $own := dict "router" $router "pools" $pools "auth" (include "alpharoute.auth" . | fromYaml) "policy_file" "/etc/alpharoute/policy/policy.yaml" -}}
{{- with .Values.tracing.endpoint -}}{{- $_ := set $own "tracing" (dict "endpoint" . "share" $.Values.tracing.share) -}}{{- end -}}
{{- with .Values.admin.port -}}{{- $_ := set $own "admin" (dict "port" (int .) "host" "0.0.0.0") -}}{{- end -}}
{{- $defaults := dict "logs" (dict "format" "json") -}}
{{- toYaml (mergeOverwrite $defaults (deepCopy .Values.settings) $own) -}}
{{- end }}

{{/* num_replicas or autoscaling_config: (dict "min" … "max" … "target" … and "pool", a pool's `replicas`, for pools). */}}
{{- define "alpharoute.replicas" -}}
{{- $pool := default dict .pool -}}
{{- if and (eq (int .min) (int .max)) (not $pool.idleSeconds) }}
num_replicas: {{ .min }}
{{- else }}
autoscaling_config:
  min_replicas: {{ if $pool.idleSeconds }}0{{ else }}{{ .min }}{{ end }}
  max_replicas: {{ .max }}
  target_ongoing_requests: {{ .target }}
  {{- if hasKey $pool "upDelaySeconds" }}
  upscale_delay_s: {{ $pool.upDelaySeconds }}
  {{- end }}
  {{- if hasKey $pool "downDelaySeconds" }}
  downscale_delay_s: {{ $pool.downDelaySeconds }}
  {{- end }}
  {{- if $pool.idleSeconds }}
  initial_replicas: {{ .min }}
  downscale_to_zero_delay_s: {{ $pool.idleSeconds }}
  policy:
    policy_function: engines.autoscaling:ByLoadOrNone
    policy_kwargs: {least: {{ .min }}, idle_requests: {{ include "alpharoute.idleRequests" $pool }}}
  {{- else if hasKey . "pool" }}
  policy: {policy_function: "engines.autoscaling:by_load"}
  {{- end }}
{{- end }}
{{- end }}

{{- define "alpharoute.idleRequests" -}}
{{ ternary .idleRequests 0.1 (hasKey . "idleRequests") }}
{{- end }}

{{- define "alpharoute.deployment.router" -}}
{{- $router := .Values.router -}}
name: router
{{- include "alpharoute.replicas" (dict "min" $router.replicas.min "max" $router.replicas.max "target" $router.targetOngoingRequests) }}
max_surge_percent: 100
ray_actor_options:
  num_cpus: {{ $router.cpus }}
  resources: {alpharoute_router: 0.001}
{{- end }}

{{- define "alpharoute.deployment.pool" -}}
{{- $pool := .pool -}}
{{- $replicas := default dict $pool.replicas -}}
{{- $min := default 1 $replicas.min -}}
name: engine-{{ $pool.name }}
{{- include "alpharoute.replicas" (dict "min" $min "max" (default $min $replicas.max) "target" (default 32 $replicas.targetRequests) "pool" $replicas) }}
max_surge_percent: {{ ternary 100 0 (and .root.Values.upgrade.surge (or .root.Values.autoscaling.enabled (eq "url" (default "vllm" $pool.engine)))) }}
ray_actor_options:
{{- if eq "url" (default "vllm" $pool.engine) }}
  num_cpus: 0.1
  resources: {alpharoute_router: 0.001}
{{- else }}
  num_cpus: {{ default 1 $pool.cpus }}
  num_gpus: {{ default 0 $pool.gpus }}
  resources: {alpharoute_on_{{ $pool.accelerator | replace "-" "_" }}: 0.001}
{{- end }}
{{- end }}

{{- define "alpharoute.serveConfig" -}}
proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: 8000
logging_config:
  encoding: JSON
  enable_access_log: false
applications:
  - name: alpharoute
    route_prefix: /
    import_path: router.app:build_app
    args:
      {{- include "alpharoute.settings" . | nindent 6 }}
    deployments:
      - {{ include "alpharoute.deployment.router" . | nindent 8 | trim }}
      {{- range .Values.pools }}
      - {{ include "alpharoute.deployment.pool" (dict "root" $ "pool" .) | nindent 8 | trim }}
      {{- end }}
  {{- if include "alpharoute.console" . }}
  - name: alpharoute-console
    route_prefix: /console
    import_path: router.console.deployment:build_console
    args:
      {{- include "alpharoute.settings" . | nindent 6 }}
    deployments:
      - name: console
        num_replicas: 1
        ray_actor_options:
          num_cpus: 0.1
          resources: {alpharoute_router: 0.001}
  {{- end }}
{{- end }}

{{/* Whether there is a console: beside the API, unless it is switched off. With a port of its own for the Admin API it
     would need one too, on the one router pod that it happens to run in, which no Service can name: `alpharoute console`
     runs it where its operators are instead. alpharoute.checks.rest refuses one that is asked for all the same. */}}
{{- define "alpharoute.console" -}}
{{- $console := default dict .Values.settings.console -}}
{{- if and (ne (toString $console.enabled) "false") (not .Values.admin.port) -}}true{{- end -}}
{{- end }}
