"""Tests of `server.tracing`."""
