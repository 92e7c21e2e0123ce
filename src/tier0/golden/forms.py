"""What a golden row is: values of columns, or a text, an array or a JSON value in place of them."""

from __future__ import annotations

from typing import Literal, get_args

Form = Literal["table", "texts", "arrays", "json"]
FORMS: tuple[str, ...] = get_args(Form)
COLUMNS = {"texts": "text", "arrays": "array", "json": "value"}
"""For each form other than a table, the name of its only column."""
IN_WORDS = {"texts": "texts", "arrays": "arrays", "json": "JSON values"}
