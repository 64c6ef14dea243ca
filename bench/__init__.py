"""Benchmarks beside other libraries, and the proof: the same faults on Celery and on Trilho."""
