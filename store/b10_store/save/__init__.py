"""Saving: from local artifacts to a published manifest."""
