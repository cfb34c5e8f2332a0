"""The engine in an executor's process, driven by messages, on softgpu."""
