"""What users call: load, save, look, look after."""
