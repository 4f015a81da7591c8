"""What is kept beside a cache root, and done to it."""
