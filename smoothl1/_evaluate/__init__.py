"""What ``smoothl1 evaluate`` and ``smoothl1.tables`` are made of."""
