"""Whom to ask, asking, and answering for pay."""
