"""Profiles of wants, sold with consent."""
