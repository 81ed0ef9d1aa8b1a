"""Ratings by people who paid, and what the contracts owe for data, models and ratings."""
