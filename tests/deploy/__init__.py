"""Tests of the operator's files in docs/deploy: the Grafana board, and the alert rules."""
