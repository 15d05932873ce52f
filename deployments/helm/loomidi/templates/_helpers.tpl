{{/* Names, labels and the parts that every pod has. Each template of the chart calls these. */}}

{{- define "loomidi.name" -}}
{{- if contains "loomidi" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-loomidi" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{/* Of a part: (dict "root" $ "part" "agent"). */}}
{{- define "loomidi.part" -}}
{{ include "loomidi.name" .root }}-{{ .part }}
{{- end }}

{{- define "loomidi.chosen" -}}
app.kubernetes.io/name: loomidi
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "loomidi.labels" -}}
{{ include "loomidi.chosen" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* No Fold may touch what folds: the driver refuses whatever carries this label. */}}
{{- define "loomidi.podLabels" -}}
{{ include "loomidi.chosen" . }}
loomidi.io/protected: "true"
{{- end }}

{{- define "loomidi.meta" -}}
name: {{ include "loomidi.part" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "loomidi.labels" . | nindent 2 }}
{{- end }}

{{- define "loomidi.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- define "loomidi.pull" -}}
image: {{ include "loomidi.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{/* Pod security "restricted", for everything but the agent. */}}
{{- define "loomidi.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "loomidi.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 10001
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "loomidi.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (dict "root" $ "part" "pipeline" "replicas" 2): one a node, where there are nodes. */}}
{{- define "loomidi.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "loomidi.chosen" . | nindent 8 }}
{{- end }}

{{/* Ready and alive, by the probes of each service: (dict "port" "probes" "start" 60). */}}
{{- define "loomidi.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: {{ .port }}}
  periodSeconds: 2
  failureThreshold: {{ div .start 2 }}
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
livenessProbe:
  httpGet: {path: /healthz, port: {{ .port }}}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
{{- end }}

{{/* Lines of TOML from groups: a value as JSON writes it is one that TOML reads. */}}
{{- define "loomidi.toml" -}}
{{- $values := .values -}}
{{- range $key := keys $values | sortAlpha }}
{{- $value := get $values $key }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $key := keys $values | sortAlpha }}
{{- $value := get $values $key }}
{{- if kindIs "map" $value }}
{{- $place := ternary $key (printf "%s.%s" $.place $key) (empty $.place) }}

[{{ $place }}]
{{- include "loomidi.toml" (dict "values" $value "place" $place) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Which bus, and whether it is ours. */}}
{{- define "loomidi.ownBus" -}}
{{- if and (not .Values.bus.url) .Values.nats.enabled }}yes{{ end -}}
{{- end }}

{{- define "loomidi.busUrl" -}}
{{- if .Values.bus.url }}{{ .Values.bus.url }}
{{- else if .Values.nats.enabled }}nats://{{ include "loomidi.part" (dict "root" . "part" "nats") }}.{{ .Release.Namespace }}.svc:4222
{{- end -}}
{{- end }}

{{- define "loomidi.busSecret" -}}
{{- if include "loomidi.ownBus" . }}{{ .Values.nats.authSecret | default (include "loomidi.part" (dict "root" . "part" "nats-auth")) }}
{{- else }}{{ .Values.bus.credentialsSecret }}
{{- end -}}
{{- end }}

{{/* The group [bus] of every configuration file. */}}
{{- define "loomidi.bus" -}}
{{- $bus := dict "url" (include "loomidi.busUrl" .) -}}
{{- if include "loomidi.ownBus" . }}{{ $_ := set $bus "stream_octets" 1073741824 }}{{ end -}}
{{- if include "loomidi.busSecret" . }}{{ $_ := set $bus "credentials" "/run/secrets/loomidi-bus/credentials" }}{{ end -}}
{{- if .Values.bus.tlsSecret }}{{ $_ := set $bus "tls_ca" "/run/secrets/loomidi-bus-tls/ca.crt" }}{{ end -}}
{{- if and (include "loomidi.ownBus" .) (gt (int .Values.nats.replicas) 1) }}{{ $_ := set $bus "replicas" (int .Values.nats.replicas) }}{{ end -}}
{{- toJson $bus -}}
{{- end }}

{{- define "loomidi.busMounts" -}}
{{- if include "loomidi.busSecret" . }}
- {name: bus, mountPath: /run/secrets/loomidi-bus, readOnly: true}
{{- end }}
{{- if .Values.bus.tlsSecret }}
- {name: bus-tls, mountPath: /run/secrets/loomidi-bus-tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "loomidi.busVolumes" -}}
{{- with include "loomidi.busSecret" . }}
- name: bus
  secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: credentials, path: credentials}]}
{{- end }}
{{- with .Values.bus.tlsSecret }}
- name: bus-tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "loomidi.channelSecret" -}}
{{ .Values.agent.channel.secret | default (include "loomidi.part" (dict "root" . "part" "orders")) }}
{{- end }}

{{/* What no schema can say; each message says what to do. */}}
{{- define "loomidi.check" -}}
{{- if .Values.dashboard.enabled }}{{ fail "dashboard.enabled: the dashboard is not part of this release; leave it off" }}{{ end }}
{{- if and (or .Values.agent.enabled .Values.pipeline.enabled .Values.transformer.enabled) (not (include "loomidi.busUrl" .)) }}
{{- fail "there is no bus: give bus.url, or set nats.enabled" }}
{{- end }}
{{- with .Values.pipeline.ingest }}
{{- if and .enabled (not (and .tlsSecret .tokenSecret)) }}
{{- fail "pipeline.ingest.enabled needs pipeline.ingest.tlsSecret (tls.crt, tls.key) and pipeline.ingest.tokenSecret (tokens); see docs/ingest.md" }}
{{- end }}
{{- end }}
{{- with .Values.policy }}
{{- if and .enabled (not (and .tlsSecret .tokenSecret)) }}
{{- fail "policy.enabled needs policy.tlsSecret (tls.crt, tls.key) and policy.tokenSecret (tokens)" }}
{{- end }}
{{- end }}
{{- with .Values.transformer }}
{{- if and .enabled (not (and .tlsSecret .tokenSecret)) }}
{{- fail "transformer.enabled needs transformer.tlsSecret (tls.crt, tls.key) and transformer.tokenSecret (tokens)" }}
{{- end }}
{{- end }}
{{- if and .Values.opa.enabled (not (and .Values.opa.image .Values.policy.enabled)) }}
{{- fail "opa.enabled needs policy.enabled and opa.image, such as openpolicyagent/opa:1.10.0-static" }}
{{- end }}
{{- if gt (len (compact (list .Values.operator.approvalKeySecret .Values.operator.generateApprovalKey .Values.operator.approvers))) 1 }}
{{- fail "give one of operator.approvers, operator.approvalKeySecret and operator.generateApprovalKey" }}
{{- end }}
{{- if and (or .Values.operator.enabled (and .Values.pipeline.enabled .Values.pipeline.propose) (and .Values.transformer.enabled .Values.transformer.propose)) (not (or .Values.crds.install (.Capabilities.APIVersions.Has "loomidi.io/v1alpha1"))) }}
{{- fail "operator.enabled, pipeline.propose and transformer.propose need the CRDs: set crds.install, or apply deployments/crd first" }}
{{- end }}
{{- end }}
