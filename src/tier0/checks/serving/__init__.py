"""The checks of a served model, one module a group; the catalogue (`tier0.core.catalogue`) names them."""
