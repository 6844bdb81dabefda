{{/* How many pods a worker group needs: what Ray must place, against what a pod holds. */}}

{{/* CPUs of a pod, from resources.limits.cpu ("2" or "500m"). */}}
{{- define "alpharoute.cpusOf" -}}
{{- $cpu := toString (default 1 (default dict (default dict .resources).limits).cpu) -}}
{{- if hasSuffix "m" $cpu -}}{{ divf (trimSuffix "m" $cpu | float64) 1000 }}{{- else -}}{{ $cpu | float64 }}{{- end -}}
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

{{/* Pods for (dict "root" $ "accelerator" name "bound" "min"|"max"); a pool that may sleep needs none at the least. */}}
{{- define "alpharoute.podsFor" -}}
{{- $cpus := 0.0 -}}{{- $gpus := 0.0 -}}
{{- range $pool := .root.Values.pools -}}
{{- if eq (default "" $pool.accelerator) $.accelerator -}}
{{- $replicas := default dict $pool.replicas -}}
{{- $min := int (ternary $replicas.min 1 (hasKey $replicas "min")) -}}
{{- if $replicas.idleSeconds -}}{{- $min = ternary 0 $min (eq $.bound "min") -}}{{- end -}}
{{- $count := ternary $min (int (default $min $replicas.max)) (eq $.bound "min") -}}
{{- $cpus = addf $cpus (mulf (include "alpharoute.poolCpus" $pool | float64) $count) -}}
{{- $gpus = addf $gpus (mulf (default 0 $pool.gpus | float64) $count) -}}
{{- end -}}
{{- end -}}
{{- $kind := index .root.Values.accelerators .accelerator -}}
{{- $byCpu := ceil (divf $cpus (include "alpharoute.cpusOf" $kind | float64)) -}}
{{- $byGpu := 0.0 -}}
{{- if gt $gpus 0.0 -}}{{- $byGpu = ceil (divf $gpus (include "alpharoute.gpusOf" $kind | float64)) -}}{{- end -}}
{{ max (int $byCpu) (int $byGpu) }}
{{- end }}
