"""Formats of saved models: one module for each framework, imported only for its models."""
