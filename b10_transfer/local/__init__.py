"""The cache roots of this host, and what is kept beside them."""
