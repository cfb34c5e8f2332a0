"""The scheduler's core: events in, instructions out."""
