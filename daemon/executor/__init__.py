"""The executor: one process per device, which holds the engine and drives the device."""
