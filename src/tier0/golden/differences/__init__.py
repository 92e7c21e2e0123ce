"""How served outputs differ from the trained model's: patterns, and the likely causes."""
