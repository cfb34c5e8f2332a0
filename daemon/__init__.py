"""tallyd: the supervisor, and the executors that it starts, one per device."""
