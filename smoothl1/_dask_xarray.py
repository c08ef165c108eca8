"""x."""

def evaluate_xarray() -> None:
    """x."""
