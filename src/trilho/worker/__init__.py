"""The Celery worker of Trilho: stock strategy, events and signals; claims, fences and leases instead of acknowledgements."""
