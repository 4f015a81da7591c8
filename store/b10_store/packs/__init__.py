"""Packs: reading, writing and checking them."""
