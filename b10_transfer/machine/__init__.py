"""Facts about this host."""
