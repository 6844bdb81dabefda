{{/* Pods of Ray: the head, the routers, and one kind of engine pod per accelerator. */}}

{{- define "alpharoute.ray.env" -}}
- name: RAY_SERVE_ENABLE_HA_PROXY
  value: "1"
- name: RAY_SERVE_THROUGHPUT_OPTIMIZED
  value: "1"
{{/* How long HAProxy's displaced workers may finish their streams after a reload: as long as a request may take. */}}
- name: RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S
  value: {{ add1 (int (default 3600 (dig "limits" "request_s" 3600 .Values.settings))) | quote }}
{{/* How long a client may neither send nor take what is due; a little longer than the router's own patience. */}}
{{- $limits := dig "limits" dict .Values.settings }}
- name: RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S
  value: {{ maxf (dig "body_s" 30 $limits) (dig "silence_s" 120 $limits) | ceil | int | add 5 | quote }}
- name: RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO
  value: "0"
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{/* The GPU image's Python comes with vLLM's: 3.12 as the other's, of whichever patch; Ray would refuse such a node. */}}
- name: RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL
  value: minor
- name: HOME
  value: /home/alpharoute
- name: HF_HOME
  value: /var/cache/alpharoute/hub
{{ include "alpharoute.redis.env" . }}
- name: ALPHAROUTE_REDIS__PREFIX
  value: {{ include "alpharoute.redis.prefix" . | quote }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Secrets of one part only: keys of engines outside Ray for the routers, the hub's token for the engines. */}}
{{- define "alpharoute.ray.secretEnv" -}}
{{- if eq .component "router" }}
{{- range .root.Values.pools }}
{{- if .apiKeySecret }}
- name: {{ include "alpharoute.engineKeyName" . }}
  valueFrom:
    secretKeyRef: {name: {{ .apiKeySecret.name | quote }}, key: {{ .apiKeySecret.key | quote }}}
{{- end }}
{{- end }}
{{- else if and (eq .component "engine") .root.Values.hub.existingSecret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ .root.Values.hub.existingSecret | quote }}, key: {{ .root.Values.hub.tokenKey | quote }}}
{{- end }}
{{- end }}

{{- define "alpharoute.ray.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: /home/alpharoute}
- {name: cache, mountPath: /var/cache/alpharoute}
- {name: policy, mountPath: /etc/alpharoute/policy, readOnly: true}
{{- if .Values.auth.existingSecret }}
- {name: keys, mountPath: /etc/alpharoute/keys, readOnly: true}
{{- end }}
{{- if and (include "alpharoute.redis.tls" .) .Values.redis.external.tls.caSecret }}
- {name: redis-ca, mountPath: /etc/alpharoute/redis-ca, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "alpharoute.ray.volumes" -}}
- {name: tmp, emptyDir: {}}
- {name: home, emptyDir: {}}
{{- if and .engines .root.Values.hub.cacheClaim }}
- {name: cache, persistentVolumeClaim: {claimName: {{ .root.Values.hub.cacheClaim | quote }}}}
{{- else }}
- {name: cache, emptyDir: {sizeLimit: {{ .root.Values.hub.cacheSize | quote }}}}
{{- end }}
- name: policy
  configMap:
    name: {{ default (printf "%s-policy" (include "alpharoute.fullname" .root)) .root.Values.policy.existingConfigMap | quote }}
{{- with .root.Values.auth.existingSecret }}
- name: keys
  secret: {secretName: {{ . | quote }}, defaultMode: 288}
{{- end }}
{{- if and (include "alpharoute.redis.tls" .root) .root.Values.redis.external.tls.caSecret }}
- name: redis-ca
  secret: {secretName: {{ .root.Values.redis.external.tls.caSecret | quote }}}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Says to Ray that this node ends, so that Serve starts its replicas elsewhere, and waits until they have left. */}}
{{- define "alpharoute.ray.drain" -}}
preStop:
  exec:
    command:
      - /bin/bash
      - -c
      - |
        ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "the pod ends" \
          --deadline-remaining-seconds {{ .seconds }} || sleep 15
        for _ in $(seq {{ .seconds }}); do
          grep -qs ServeReplica /proc/[0-9]*/cmdline || break
          sleep 1
        done
{{- end }}

{{/* (dict "root" $ "component" "head|router|engine" "kind" the values of the group "image" … "grace" seconds) */}}
{{- define "alpharoute.ray.pod" -}}
{{- $values := .root.Values -}}
{{- $head := eq .component "head" -}}
metadata:
  labels:
    {{- include "alpharoute.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with .group }}
    alpharoute/accelerator: {{ . | quote }}
    {{- end }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "alpharoute.serviceAccountName" .root | quote }}
  automountServiceAccountToken: {{ and $head $values.autoscaling.enabled }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .grace }}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with .kind.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with .kind.runtimeClassName }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- with .kind.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .kind.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .kind.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .kind.topologySpread }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "alpharoute.selector" $.root | nindent 10 }}
          app.kubernetes.io/component: {{ $.component }}
    {{- end }}
  {{- end }}
  {{- with concat (default list .init) $values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: ray
      image: {{ .image | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      securityContext:
        {{- toYaml $values.securityContext | nindent 8 }}
      resources:
        {{- toYaml .kind.resources | nindent 8 }}
      ports:
        - {name: serve, containerPort: 8000}
        - {name: metrics, containerPort: 8080}
        - {name: agent, containerPort: 52365}
        {{- if $head }}
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        {{- end }}
      env:
        {{- include "alpharoute.ray.env" .root | nindent 8 }}
        {{- with include "alpharoute.ray.secretEnv" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with .kind.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      startupProbe:
        httpGet: {port: agent, path: /api/local_raylet_healthz}
        periodSeconds: 5
        failureThreshold: 60
      livenessProbe:
        httpGet: {port: agent, path: /api/local_raylet_healthz}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 12
      readinessProbe:
        {{- if $head }}
        httpGet: {port: dashboard, path: /api/gcs_healthz}
        {{- else }}
        httpGet: {port: serve, path: /-/healthz}
        {{- end }}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- if not $head }}
      lifecycle:
        {{- include "alpharoute.ray.drain" (dict "seconds" (sub .grace 30)) | nindent 8 }}
      {{- end }}
      volumeMounts:
        {{- include "alpharoute.ray.mounts" .root | nindent 8 }}
        {{- range .models }}
        - {name: model-{{ .name }}, mountPath: /models/{{ .name }}, readOnly: true{{ with .subPath }}, subPath: {{ . | quote }}{{ end }}}
        {{- end }}
    {{- with $values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "alpharoute.ray.volumes" (dict "root" .root "engines" (eq .component "engine")) | nindent 4 }}
    {{- range .models }}
    - {{ .volume | nindent 6 | trim }}
    {{- end }}
{{- end }}

{{/* The longest drain among the pools of (dict "root" $ "accelerator" name); 60 s is the product's default. */}}
{{- define "alpharoute.longestDrain" -}}
{{- $longest := 0 -}}
{{- range .root.Values.pools -}}
{{- if eq (default "" .accelerator) $.accelerator -}}
{{- $longest = max $longest (int (ternary .drainSeconds 60 (hasKey . "drainSeconds"))) -}}
{{- end -}}
{{- end -}}
{{ $longest }}
{{- end }}
