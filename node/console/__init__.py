"""HTTP on 127.0.0.1: the OpenAI-compatible endpoint, health and metrics."""
