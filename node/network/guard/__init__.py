"""Who may cost us how much, and who is kept out."""
