"""PTX as text: a reader and writer of statements, shared by the rewriting passes and by softgpu."""
