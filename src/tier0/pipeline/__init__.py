"""Steps 4 and 5: choosing an algorithm by comparison, training it, and logging it."""
