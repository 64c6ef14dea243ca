"""The worker: Celery's strategy, events and signals; claims, fences and leases instead of acknowledgements."""
