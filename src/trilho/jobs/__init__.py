"""Durable Celery: what a job is, and everything that happens to it."""
