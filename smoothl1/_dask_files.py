"""x."""

def evaluate_files() -> None:
    """x."""
