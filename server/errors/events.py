"""Refusals of webhooks.

Rule: a webhook of another owner is `webhook_not_found`; nothing here reveals that it exists.
"""

from server.errors.base import ClientError


class WebhookNotFoundError(ClientError):
    code = "webhook_not_found"
    status = 404


class DeliveryNotFoundError(ClientError):
    code = "delivery_not_found"
    status = 404


class TooManyWebhooksError(ClientError):
    """`limit` is how many an owner may have."""

    code = "too_many_webhooks"
    status = 409
