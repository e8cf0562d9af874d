{{/* The name of what is installed: that of the release, with the chart's if it says nothing of it. */}}
{{- define "operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "operator.account" -}}
{{ .Values.serviceAccount.name | default (include "operator.name" .) }}
{{- end -}}

{{/* As the API server calls the operator. */}}
{{- define "operator.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "operator.account" . }}
{{- end -}}

{{- define "operator.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
