"""Random sequences of requests against a model."""
