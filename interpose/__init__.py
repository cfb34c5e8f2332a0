"""The driver-API table: CUDA's header in, one JSON table, generated C out."""
