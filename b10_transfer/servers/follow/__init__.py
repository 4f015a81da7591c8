"""Follow a server: wait until it is ready, save what it compiles, and save what comes later."""
