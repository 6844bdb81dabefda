{{/* Contradictions that the schema cannot say: each fails with the value's name, what it is, and what to do. */}}

{{- define "alpharoute.checks" -}}
{{- include "alpharoute.checks.values" . -}}
{{- include "alpharoute.checks.pools" . -}}
{{- include "alpharoute.checks.settings" . -}}
{{- include "alpharoute.checks.redis" . -}}
{{- include "alpharoute.checks.rest" . -}}
{{- end }}

{{- define "alpharoute.checks.pools" -}}
{{- $names := list -}}
{{- $awake := dict -}}
{{- range .Values.pools -}}{{- if not (default dict .replicas).idleSeconds -}}{{- $_ := set $awake .model true -}}{{- end -}}{{- end -}}
{{- range $i, $pool := .Values.pools -}}
{{- $at := printf "pools[%d] (%q)" $i $pool.name -}}
{{- $engine := default "vllm" $pool.engine -}}
{{- if has $pool.name $names -}}{{- fail (printf "%s: the name is given twice" $at) -}}{{- end -}}
{{- $names = append $names $pool.name -}}
{{- if and $pool.method (not $pool.k_max) -}}{{- fail (printf "%s: method %q without k_max: a speculative pool sets both, a vanilla one neither" $at $pool.method) -}}{{- end -}}
{{- if and $pool.k_max (not $pool.method) -}}{{- fail (printf "%s: k_max %v without method: a speculative pool sets both, a vanilla one neither" $at $pool.k_max) -}}{{- end -}}
{{- if and $pool.drafter (not $pool.method) -}}{{- fail (printf "%s: drafter %q without a method" $at $pool.drafter) -}}{{- end -}}
{{- if and (has (default "" $pool.method) (list "ngram" "ngram_gpu" "suffix")) $pool.drafter -}}{{- fail (printf "%s: method %q takes no drafter, got %q" $at $pool.method $pool.drafter) -}}{{- end -}}
{{- if and (eq $engine "vllm") (has (default "" $pool.method) (list "draft_model" "eagle" "eagle3" "medusa" "dflash" "custom_class")) (not $pool.drafter) -}}{{- fail (printf "%s: method %q needs a drafter" $at $pool.method) -}}{{- end -}}
{{- if and (eq $engine "url") (not $pool.urls) -}}{{- fail (printf "%s: engine url needs urls" $at) -}}{{- end -}}
{{- if and (ne $engine "url") $pool.urls -}}{{- fail (printf "%s: urls go with engine url alone (it is %q)" $at $engine) -}}{{- end -}}
{{- if and (ne $engine "url") $pool.apiKeySecret -}}{{- fail (printf "%s: apiKeySecret goes with engine url alone (it is %q): other engines make their own key" $at $engine) -}}{{- end -}}
{{- if eq $engine "url" -}}
{{- if $pool.accelerator -}}{{- fail (printf "%s: an engine outside Ray has no accelerator (got %q)" $at $pool.accelerator) -}}{{- end -}}
{{- if $pool.replicas -}}{{- fail (printf "%s: an engine outside Ray has no replicas here; engineScaling scales it" $at) -}}{{- end -}}
{{- else -}}
{{- if not $pool.accelerator -}}{{- fail (printf "%s: accelerator is missing; there are %s" $at (keys $.Values.accelerators | sortAlpha | join ", ")) -}}{{- end -}}
{{- if not (hasKey $.Values.accelerators $pool.accelerator) -}}{{- fail (printf "%s: accelerator %q is not among accelerators: %s" $at $pool.accelerator (keys $.Values.accelerators | sortAlpha | join ", ")) -}}{{- end -}}
{{- end -}}
{{- $replicas := default dict $pool.replicas -}}
{{- if gt (int (default 1 $replicas.min)) (int (default (default 1 $replicas.min) $replicas.max)) -}}{{- fail (printf "%s: replicas.min %v is above replicas.max %v" $at $replicas.min $replicas.max) -}}{{- end -}}
{{- if not $replicas.idleSeconds -}}
{{- if hasKey $replicas "idleRequests" -}}{{- fail (printf "%s: replicas.idleRequests %v without replicas.idleSeconds: the pool never sleeps" $at $replicas.idleRequests) -}}{{- end -}}
{{- end -}}
{{- if not (hasKey $awake $pool.model) -}}{{- fail (printf "%s: replicas.idleSeconds is set for every pool of model %q: one must stay awake to answer while the others sleep" $at $pool.model) -}}{{- end -}}
{{- if hasKey (default dict $pool.settings) "autoscaling" -}}{{- fail (printf "%s: settings.autoscaling: the chart sets it itself, use replicas: min, max, targetRequests, upDelaySeconds, downDelaySeconds, idleSeconds, idleRequests" $at) -}}{{- end -}}
{{- range $flag := (default dict (default dict $pool.settings).vllm).args -}}
{{- if and (not $pool.method) (has (index (splitList "=" $flag) 0) (list "--per-request-spec-decode-metrics" "--speculative-config" "--spec-method")) -}}{{- fail (printf "%s: settings.vllm.args holds %q, which vLLM refuses in a pool without speculation" $at $flag) -}}{{- end -}}
{{- end -}}
{{- range $key := list "name" "model" "engine" "target" "drafter" "method" "k_max" "replicas" "cpus" "gpus" "urls" "api_key" "drain_s" -}}
{{- if hasKey (default dict $pool.settings) $key -}}{{- fail (printf "%s: settings.%s belongs beside settings, not in it" $at $key) -}}{{- end -}}
{{- end -}}
{{- include "alpharoute.checks.weights" (dict "root" $ "at" $at "pool" $pool) -}}
{{- include "alpharoute.checks.fit" (dict "root" $ "at" $at "pool" $pool) -}}
{{- end -}}
{{- end }}

{{- define "alpharoute.checks.weights" -}}
{{- range $field := list "target" "drafter" -}}
{{- $place := default "" (index $.pool $field) -}}
{{- if hasPrefix "/models/" $place -}}
{{- $source := index (splitList "/" $place) 2 -}}
{{- if not (hasKey $.root.Values.models $source) -}}{{- fail (printf "%s: %s %q names the source %q, which is not among models: %s" $.at $field $place $source (keys $.root.Values.models | sortAlpha | join ", ")) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A replica that no pod has room for would wait for ever. */}}
{{- define "alpharoute.checks.fit" -}}
{{- if .pool.accelerator -}}
{{- $kind := index .root.Values.accelerators .pool.accelerator -}}
{{- $gpus := include "alpharoute.gpusOf" $kind | float64 -}}
{{- $cpus := include "alpharoute.cpusOf" $kind | float64 -}}
{{- $each := default 0 .pool.gpus | float64 -}}
{{- $where := printf "accelerators.%s.resources" .pool.accelerator -}}
{{- include "alpharoute.checks.cpus" (dict "kind" $kind "where" $where) -}}
{{- if and (gt $each 1.0) (ne $each (floor $each)) -}}{{- fail (printf "%s: gpus %v: Ray gives whole GPUs above 1" .at .pool.gpus) -}}{{- end -}}
{{- if gt $each $gpus -}}{{- fail (printf "%s: gpus %v, but a pod of accelerator %q has %v (%s.limits)" .at .pool.gpus .pool.accelerator $gpus $where) -}}{{- end -}}
{{- if gt (include "alpharoute.poolCpus" .pool | float64) $cpus -}}{{- fail (printf "%s: cpus %v, but a pod of accelerator %q has %v (%s: limits.cpu, else requests.cpu)" .at (include "alpharoute.poolCpus" .pool) .pool.accelerator $cpus $where) -}}{{- end -}}
{{- end -}}
{{- end }}

{{/* Ray's autoscaler does not start where it cannot tell how many CPUs a pod has. */}}
{{- define "alpharoute.checks.cpus" -}}
{{- if eq "0" (include "alpharoute.cpusOf" .kind) -}}{{- fail (printf "%s: neither limits.cpu nor requests.cpu says how many CPUs a pod has" .where) -}}{{- end -}}
{{- end }}

{{- define "alpharoute.checks.settings" -}}
{{- $own := dict "pools" "pools" "redis" "redis" "policy" "policy.document" "listen" "service.port" "policy_file" "policy" "auth" "auth" "admin" "admin.port" "tracing" "tracing" -}}
{{- range $key, $instead := $own -}}
{{- if hasKey $.Values.settings $key -}}{{- fail (printf "settings.%s: the chart sets it itself, use %s" $key $instead) -}}{{- end -}}
{{- end -}}
{{- $router := default dict .Values.settings.router -}}
{{- range $key, $instead := dict "replicas" "router.replicas" "max_ongoing_requests" "router.maxOngoingRequests" "drain_s" "router.drainSeconds" "engine_host" "nothing: it is 'node' on Kubernetes" -}}
{{- if hasKey $router $key -}}{{- fail (printf "settings.router.%s: the chart sets it itself, use %s" $key $instead) -}}{{- end -}}
{{- end -}}
{{- if gt (int .Values.router.replicas.min) (int .Values.router.replicas.max) -}}{{- fail (printf "router.replicas: min %v is above max %v" .Values.router.replicas.min .Values.router.replicas.max) -}}{{- end -}}
{{- if gt (int .Values.router.targetOngoingRequests) (int .Values.router.maxOngoingRequests) -}}{{- fail (printf "router.targetOngoingRequests %v is above router.maxOngoingRequests %v: Serve would never add a replica" .Values.router.targetOngoingRequests .Values.router.maxOngoingRequests) -}}{{- end -}}
{{- include "alpharoute.checks.cpus" (dict "kind" .Values.router "where" "router.resources") -}}
{{- $cpus := include "alpharoute.cpusOf" .Values.router | float64 -}}
{{- if and (not .Values.autoscaling.enabled) (gt (mulf 2.0 (.Values.router.cpus | float64)) $cpus) -}}{{- fail (printf "router.cpus %v: without autoscaling a router pod must hold two replicas, a new one beside the old, and it has %v CPUs (router.resources: limits.cpu, else requests.cpu)" .Values.router.cpus $cpus) -}}{{- end -}}
{{- if gt (.Values.router.cpus | float64) $cpus -}}{{- fail (printf "router.cpus %v, but a router pod has %v (router.resources: limits.cpu, else requests.cpu)" .Values.router.cpus $cpus) -}}{{- end -}}
{{- end }}

{{- define "alpharoute.checks.redis" -}}
{{- $redis := .Values.redis -}}
{{- $sentinel := $redis.external.sentinel -}}
{{- if eq $redis.mode "external" -}}
{{- if and (not $redis.external.host) (not $sentinel.nodes) -}}{{- fail "redis.mode is external: redis.external.host is missing (or redis.external.sentinel)" -}}{{- end -}}
{{- if and $redis.external.host $sentinel.nodes -}}{{- fail (printf "redis.external: host %q and sentinel.nodes exclude each other" $redis.external.host) -}}{{- end -}}
{{- if ne (empty $sentinel.nodes) (empty $sentinel.master) -}}{{- fail "redis.external.sentinel: master and nodes go together" -}}{{- end -}}
{{- if and $redis.external.username (not $redis.existingSecret) -}}{{- fail (printf "redis.external.username %q without redis.existingSecret, which holds its password" $redis.external.username) -}}{{- end -}}
{{- if and $sentinel.passwordKey (not $redis.existingSecret) -}}{{- fail (printf "redis.external.sentinel.passwordKey %q without redis.existingSecret, which holds it" $sentinel.passwordKey) -}}{{- end -}}
{{- if and $redis.external.tls.caSecret (not $redis.external.tls.enabled) -}}{{- fail "redis.external.tls.caSecret is set, but tls.enabled is false" -}}{{- end -}}
{{- else if or $redis.external.host $sentinel.nodes -}}
{{- fail "redis.mode is builtin, but redis.external names a server: set redis.mode to external or leave it out" -}}
{{- end -}}
{{- end }}

{{- define "alpharoute.checks.rest" -}}
{{- $console := default dict .Values.settings.console -}}
{{- if and .Values.admin.port (or (eq (toString $console.enabled) "true") $console.port) -}}{{- fail (printf "settings.console: with admin.port %d there is no console in the cluster, for it would listen on one router pod that no Service can name. Leave settings.console out and run it where its operators are: `kubectl port-forward svc/%s-admin %d` and `alpharoute console --url http://127.0.0.1:%d`; or set admin.port to 0 to have it beside the API" (int .Values.admin.port) (include "alpharoute.fullname" .) (int .Values.admin.port) (int .Values.admin.port)) -}}{{- end -}}
{{- if and .Values.policy.document .Values.policy.existingConfigMap -}}{{- fail "policy: document and existingConfigMap exclude each other" -}}{{- end -}}
{{- if and .Values.ingress.enabled .Values.httpRoute.enabled (eq .Values.ingress.host (first (append .Values.httpRoute.hostnames ""))) -}}{{- fail (printf "ingress and httpRoute both claim the host %q" .Values.ingress.host) -}}{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}{{- fail "httpRoute.enabled: parentRefs names no gateway" -}}{{- end -}}
{{- if .Values.auth.allowAnonymous -}}
{{- if .Values.ingress.enabled -}}{{- include "alpharoute.checks.public" (dict "at" "ingress" "paths" .Values.ingress.paths) -}}{{- end -}}
{{- if .Values.httpRoute.enabled -}}{{- include "alpharoute.checks.public" (dict "at" "httpRoute" "paths" .Values.httpRoute.paths) -}}{{- end -}}
{{- end -}}
{{- $auth := .Values.auth -}}
{{- if and $auth.allowAnonymous $auth.existingSecret -}}{{- fail (printf "auth: allowAnonymous serves everybody, existingSecret %q holds keys: choose one" $auth.existingSecret) -}}{{- end -}}
{{- if not (or $auth.allowAnonymous $auth.redisKeys $auth.existingSecret) -}}{{- fail "auth: nobody could come in; set redisKeys, existingSecret or allowAnonymous" -}}{{- end -}}
{{- if and (ne $auth.metricsFor "anyone") .Values.metrics.routers.enabled (not .Values.metrics.routers.authorization) -}}{{- fail (printf "auth.metricsFor is %q: metrics.routers.authorization must name a Secret with a key of that role" $auth.metricsFor) -}}{{- end -}}
{{- if not (or .Values.metrics.routers.enabled .Values.metrics.job) -}}
{{- $unseen := "the routers' metrics are not scraped: set metrics.routers.enabled, or metrics.job to the job label that a scrape configuration of yours gives them" -}}
{{- if .Values.metrics.prometheusRule.enabled -}}{{- fail (printf "metrics.prometheusRule.enabled: %s" $unseen) -}}{{- end -}}
{{- if .Values.engineScaling -}}{{- fail (printf "engineScaling: %s" $unseen) -}}{{- end -}}
{{- end -}}
{{- $pools := dict -}}
{{- $listed := dict -}}
{{- range .Values.pools -}}{{- $_ := set $pools .name (default "vllm" .engine) -}}{{- $_ := set $listed .name (len (default list .urls)) -}}{{- end -}}
{{- range $i, $scaling := .Values.engineScaling -}}
{{- if and (eq "url" (get $pools $scaling.pool)) (lt (int (get $listed $scaling.pool)) (int $scaling.replicas.max)) -}}{{- fail (printf "engineScaling[%d] (%q): replicas.max is %v, but pool %q lists %v urls: list one for each replica there may be, the others would never get a request" $i $scaling.name $scaling.replicas.max $scaling.pool (get $listed $scaling.pool)) -}}{{- end -}}
{{- if ne "url" (get $pools $scaling.pool) -}}{{- fail (printf "engineScaling[%d]: %q is not a pool with engine url; Serve scales the others by pools[].replicas" $i $scaling.pool) -}}{{- end -}}
{{- if and (eq (default "keda" $scaling.kind) "keda") (not $scaling.prometheusUrl) -}}{{- fail (printf "engineScaling[%d] (%q): kind keda needs prometheusUrl" $i $scaling.name) -}}{{- end -}}
{{- end -}}
{{- range $name, $source := .Values.models -}}
{{- if ne 1 (len (keys $source)) -}}{{- fail (printf "models.%s: one of pvc, s3, image, got %s" $name (keys $source | sortAlpha | join ", ")) -}}{{- end -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) .Values.autoscaling.enabled (not .Values.serviceAccount.name) -}}{{- fail "autoscaling.enabled: the Ray head needs an account with rights; set serviceAccount.create or serviceAccount.name" -}}{{- end -}}
{{- end }}

{{/* Public paths of a service without keys: none may hold the console or /admin, or lie below one. As the product asks,
     anything that begins so is theirs, in whichever case; a gateway decides what a prefix is. */}}
{{- define "alpharoute.checks.public" -}}
{{- range $i, $path := .paths -}}
{{- $asked := lower (trimAll "/" $path) -}}
{{- range $inside := list "admin" "console" -}}
{{- if or (hasPrefix $asked $inside) (hasPrefix $inside $asked) -}}{{- fail (printf "%s.paths[%d]: %q opens /%s to everybody: auth.allowAnonymous is true; set it to false, or leave paths at [/v1]" $.at $i $path $inside) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
