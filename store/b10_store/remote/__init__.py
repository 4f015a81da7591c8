"""The effects on the shared folder."""
