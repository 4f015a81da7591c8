"""The cache roots of this host, and the records that are kept in them."""
