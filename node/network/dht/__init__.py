"""Provider records: who has what, kept by the peers nearest to its hash."""
