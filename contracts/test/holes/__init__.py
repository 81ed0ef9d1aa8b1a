"""One file a contract: the holes a careless hand could leave in it."""
