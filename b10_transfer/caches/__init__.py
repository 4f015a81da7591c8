"""What compilers leave, and where."""
