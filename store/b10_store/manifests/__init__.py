"""Find, merge and supersede manifests of a store."""
