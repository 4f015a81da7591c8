"""The files that compilers leave, and where."""
