"""What exact sums are made of: their rounding, their bytes, their keys."""
