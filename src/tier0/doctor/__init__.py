"""`tier0 doctor`: what an environment is missing, and how to install it."""
