"""The methods, one file a noun: each has `methods(service) -> list[Method]`, thin over a service."""
