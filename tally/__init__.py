"""Tally: share one GPU between a latency-critical service and best-effort jobs."""

__version__ = "0.1.0"
