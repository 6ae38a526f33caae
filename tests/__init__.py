"""Tests mirror `server/`; `acceptance/` has real processes and clients, `harness/` what they share."""
