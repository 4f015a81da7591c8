"""Looking for damage in a store."""
