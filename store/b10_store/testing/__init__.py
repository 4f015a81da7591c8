"""Tools for authors of a `Remote`: the tests that it must pass, and one in memory.

- `contract.RemoteContract`: the tests; this module alone needs pytest.
- `places`: how the tests look at a store past its remote; those of a folder and of memory.
- `b10_store.remote.memory.MemoryRemote`: a store in memory, for tests of what uses a remote.
"""
