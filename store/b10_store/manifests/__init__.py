"""Manifests of a store: finding, merging and succeeding them."""
