"""PTX: the reader, the rewriting passes, the linker."""
