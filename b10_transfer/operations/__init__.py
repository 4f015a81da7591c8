"""The operations that users call: load, save, look, look after."""
