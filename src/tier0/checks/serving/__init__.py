"""Checks of a served model, one module per group; `tier0.core.catalogue` lists them."""
