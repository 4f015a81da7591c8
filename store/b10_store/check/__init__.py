"""Look for damage in a store, and repair it."""
