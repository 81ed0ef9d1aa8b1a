"""What is on offer and what is wanted: the catalogue, own offers, demands, matching and search."""
