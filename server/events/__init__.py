"""Notifications of what happens: the outbox `task_events`, read as a feed by live streams, webhooks and hooks."""
