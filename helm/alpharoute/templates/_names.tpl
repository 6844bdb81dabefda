{{/* Names and labels of objects. */}}

{{- define "alpharoute.fullname" -}}
{{- $base := default .Chart.Name .Values.nameOverride -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name $base) (contains $base .Release.Name) -}}
{{- default $name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "alpharoute.serviceName" -}}
{{- default (include "alpharoute.fullname" .) .Values.service.name -}}
{{- end }}

{{- define "alpharoute.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "alpharoute.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* The job label by which alerts, dashboards and engineScaling find this release's routers. */}}
{{- define "alpharoute.job" -}}
{{- default (printf "%s/%s" .Release.Namespace (include "alpharoute.fullname" .)) .Values.metrics.job -}}
{{- end }}

{{/* What objects are selected by: never changes in the life of a release. */}}
{{- define "alpharoute.selector" -}}
app.kubernetes.io/part-of: alpharoute
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" | quote }}
{{- end }}

{{/* Labels of an object's metadata. Pods of Ray get only the selector and their component: whatever else stands in
     their template, KubeRay would start a second cluster for when it changes, the chart's version included. */}}
{{- define "alpharoute.labels" -}}
{{ include "alpharoute.selector" . }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of an object: (dict "root" $ "name" "…" "component" "…" "labels" … "annotations" …) */}}
{{- define "alpharoute.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "alpharoute.labels" .root | nindent 2 }}
  {{- with .component }}
  app.kubernetes.io/component: {{ . }}
  {{- end }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* An image: (dict "repository" … "tag" … "digest" …) */}}
{{- define "alpharoute.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end }}

{{- define "alpharoute.rayImage" -}}
{{- $image := .Values.image -}}
{{- include "alpharoute.image" (dict "repository" $image.repository "digest" $image.digest "tag" (default (printf "%s-cpu" .Chart.AppVersion) $image.tag)) -}}
{{- end }}

{{/* The image of engine pods of one kind: its own, else that of GPUs where its pods have some. */}}
{{- define "alpharoute.engineImage" -}}
{{- $image := .root.Values.image -}}
{{- if .kind.image -}}{{ .kind.image }}
{{- else if gt (include "alpharoute.gpusOf" .kind | float64) 0.0 -}}
{{- include "alpharoute.image" (dict "repository" $image.repository "digest" $image.gpu.digest "tag" (default (printf "%s-gpu" .root.Chart.AppVersion) $image.gpu.tag)) -}}
{{- else -}}{{ include "alpharoute.rayImage" .root }}
{{- end -}}
{{- end }}
