"""Money: transactions that happen once, vouchers that are never lost, deposits and settlements."""
