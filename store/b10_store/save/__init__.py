"""Save: from local artifacts to a published manifest."""
