"""The command `sdf`: one module for every subcommand, with `add` for its options and `run` for its work."""
