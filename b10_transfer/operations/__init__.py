"""The operations that users call: load, save, list, and clean up."""
