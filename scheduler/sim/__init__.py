"""The scheduler core against a virtual GPU in virtual time. Everything here is a model."""
