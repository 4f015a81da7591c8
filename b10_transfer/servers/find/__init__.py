"""Finding the model server beside this process."""
