"""The facts of this host."""
