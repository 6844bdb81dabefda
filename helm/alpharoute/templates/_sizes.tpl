{{/* How many pods a worker group needs: what Ray must place, against what a pod holds. */}}

{{/* A Kubernetes quantity ("2", "500m", "4Gi") as a number. */}}
{{- define "alpharoute.quantity" -}}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- $number := regexFind "^[0-9.]+(e[+][0-9]+)?" (toString .) -}}
{{- mulf ($number | float64) (get $units (trimPrefix $number (toString .)) | default 1.0) -}}
{{- end }}

{{/* CPUs of a pod as KubeRay and Ray's autoscaler count them: the limit, else the request, rounded up; 0 without both. */}}
{{- define "alpharoute.cpusOf" -}}
{{- $resources := default dict .resources -}}
{{- $cpu := default (default 0 (default dict $resources.requests).cpu) (default dict $resources.limits).cpu -}}
{{- ceil (include "alpharoute.quantity" $cpu | float64) -}}
{{- end }}

{{/* GPUs of a pod: any limit whose name ends in gpu, as KubeRay counts them. */}}
{{- define "alpharoute.gpusOf" -}}
{{- $found := 0.0 -}}
{{- range $key, $value := (default dict (default dict .resources).limits) -}}
{{- if hasSuffix "gpu" $key -}}{{- $found = toString $value | float64 -}}{{- end -}}
{{- end -}}
{{ $found }}
{{- end }}

{{- define "alpharoute.poolCpus" -}}{{ default 1 .cpus }}{{- end }}

{{/* Replicas of (dict "pool" … "kind" the accelerator) that one pod holds. A share of a GPU is on one GPU: three replicas
     of 0.6 do not fit on two. */}}
{{- define "alpharoute.replicasPerPod" -}}
{{- $held := floor (divf (include "alpharoute.cpusOf" .kind) (include "alpharoute.poolCpus" .pool)) -}}
{{- $gpus := default 0 .pool.gpus | float64 -}}
{{- if gt $gpus 0.0 -}}
{{- $there := include "alpharoute.gpusOf" .kind | float64 -}}
{{- $held = minf $held (ternary (mulf $there (floor (divf 1 $gpus))) (floor (divf $there $gpus)) (lt $gpus 1.0)) -}}
{{- end -}}
{{ int $held }}
{{- end }}

{{/* Replicas of (dict "pool" … "bound" "min"|"max"); a pool that may sleep has none at the least. */}}
{{- define "alpharoute.replicasOf" -}}
{{- $replicas := default dict .pool.replicas -}}
{{- $min := int (ternary $replicas.min 1 (hasKey $replicas "min")) -}}
{{- if $replicas.idleSeconds -}}{{- $min = ternary 0 $min (eq .bound "min") -}}{{- end -}}
{{ ternary $min (int (default $min $replicas.max)) (eq .bound "min") }}
{{- end }}

{{/* Pods for (dict "root" $ "accelerator" name "bound" "min"|"max"). Serve spreads replicas in an order that nobody knows
     beforehand, so pools share pods only where any order fits: where their replicas are of one size, or where one pod
     holds them all. */}}
{{- define "alpharoute.podsFor" -}}
{{- $kind := index .root.Values.accelerators .accelerator -}}
{{- $counts := dict -}}{{- $held := dict -}}
{{- $cpus := 0.0 -}}{{- $gpus := 0.0 -}}{{- $shares := false -}}
{{- range $pool := .root.Values.pools -}}
{{- if eq (default "" $pool.accelerator) $.accelerator -}}
{{- $count := include "alpharoute.replicasOf" (dict "pool" $pool "bound" $.bound) | int -}}
{{- $each := default 0 $pool.gpus | float64 -}}
{{- $size := printf "%s/%v" (include "alpharoute.poolCpus" $pool) $each -}}
{{- $_ := set $counts $size (add $count (default 0 (get $counts $size))) -}}
{{- $_ := set $held $size (max 1 (include "alpharoute.replicasPerPod" (dict "pool" $pool "kind" $kind) | int)) -}}
{{- $cpus = addf $cpus (mulf (include "alpharoute.poolCpus" $pool) $count) -}}
{{- $gpus = addf $gpus (mulf $each $count) -}}
{{- if ne $each (floor $each) -}}{{- $shares = true -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $pods := 0 -}}
{{- range $size, $count := $counts -}}
{{- $pods = add $pods (ceil (divf $count (get $held $size))) -}}
{{- end -}}
{{- $fits := and (le $cpus (include "alpharoute.cpusOf" $kind | float64)) (le $gpus (include "alpharoute.gpusOf" $kind | float64)) -}}
{{ ternary (min 1 $pods) $pods (and $fits (or (not $shares) (le $gpus 1.0))) }}
{{- end }}
