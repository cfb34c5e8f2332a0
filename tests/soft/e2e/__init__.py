"""Programs under a tallyd, from end to end."""
