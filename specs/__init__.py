"""Models of protocols, and the search through all their interleavings."""
