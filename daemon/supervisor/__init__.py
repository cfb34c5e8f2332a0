"""tallyd: one process that owns jobs and the control socket, and keeps executors running."""
