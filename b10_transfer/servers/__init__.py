"""Model servers beside this process: finding them, waiting until they are ready, and saving."""
