"""A store of immutable blobs on a shared folder, with manifests that many hosts publish at once.

The engine below `b10_transfer`. It knows bytes, files and other hosts, and nothing of compilers, of
environment variables or of a terminal. `b10_store.store.Store` is the way in.
"""
