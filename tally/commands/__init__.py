"""The subcommands of `tally`, one module each."""
