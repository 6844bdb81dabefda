{{/* Weights: a volume per source that a worker group's pools use, filled by an init container where it starts empty. */}}

{{/* The sources of (dict "root" $ "accelerator" name), as a list of {name, subPath, volume}. */}}
{{- define "alpharoute.models.of" -}}
{{- $used := list -}}
{{- range .root.Values.pools -}}
{{- if eq (default "" .accelerator) $.accelerator -}}
{{- range $place := list .target .drafter -}}
{{- if hasPrefix "/models/" (default "" $place) -}}{{- $used = append $used (index (splitList "/" $place) 2) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found := list -}}
{{- range $name := uniq $used | sortAlpha -}}
{{- $source := index $.root.Values.models $name -}}
{{- $volume := dict "name" (printf "model-%s" $name) -}}
{{- if $source.pvc -}}
{{- $_ := set $volume "persistentVolumeClaim" (dict "claimName" $source.pvc.claimName "readOnly" true) -}}
{{- else -}}
{{- $limit := default "200Gi" (default dict (coalesce $source.s3 $source.image)).sizeLimit -}}
{{- $_ := set $volume "emptyDir" (dict "sizeLimit" $limit) -}}
{{- end -}}
{{- $found = append $found (dict "name" $name "subPath" (default "" (default dict $source.pvc).subPath) "volume" (toYaml $volume)) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end }}

{{/* Init containers that fill them. */}}
{{- define "alpharoute.models.init" -}}
{{- $containers := list -}}
{{- range include "alpharoute.models.of" . | fromYamlArray -}}
{{- $source := index $.root.Values.models .name -}}
{{- if not $source.pvc -}}
{{- $container := dict "name" (printf "model-%s" .name) "imagePullPolicy" "IfNotPresent" "securityContext" $.root.Values.securityContext -}}
{{- $_ := set $container "volumeMounts" (list (dict "name" (printf "model-%s" .name) "mountPath" "/weights") (dict "name" "tmp" "mountPath" "/tmp")) -}}
{{- $_ := set $container "resources" (dict "requests" (dict "cpu" "500m" "memory" "512Mi") "limits" (dict "memory" "2Gi")) -}}
{{- if $source.s3 -}}
{{- $_ := set $container "image" (default "amazon/aws-cli:2.17.0" $source.s3.image) -}}
{{- $command := list "aws" -}}
{{- with $source.s3.endpoint -}}{{- $command = concat $command (list "--endpoint-url" .) -}}{{- end -}}
{{- $_ := set $container "command" (concat $command (list "s3" "sync" "--no-progress" $source.s3.uri "/weights")) -}}
{{- $_ := set $container "env" (list (dict "name" "HOME" "value" "/tmp")) -}}
{{- with $source.s3.existingSecret -}}
{{- $_ := set $container "envFrom" (list (dict "secretRef" (dict "name" .))) -}}
{{- end -}}
{{- else -}}
{{- $_ := set $container "image" $source.image.reference -}}
{{- $_ := set $container "command" (list "cp" "-r" (printf "%s/." (default "/models" $source.image.path)) "/weights") -}}
{{- end -}}
{{- $containers = append $containers $container -}}
{{- end -}}
{{- end -}}
{{- toYaml $containers -}}
{{- end }}
