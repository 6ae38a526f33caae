"""The conformance suite of tus servers: `python -m tests.conformance URL` judges any tus 1.0 server from outside.

Rule: it knows a server by its URL alone. Nothing here imports `server`, and nothing but the standard library is
needed, so the folder can be pointed at whatever speaks tus.
"""
