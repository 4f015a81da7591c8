"""The local tree: reading it, and putting files into it."""
