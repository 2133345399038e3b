"""The status document as JSON."""

from __future__ import annotations

import json
import math

from streamad.observability import finite


def test_what_json_cannot_say_becomes_null() -> None:
    document = {"a": math.nan, "b": [(1.0, math.inf), (2.0, 3.5)], "c": {"d": -math.inf, "e": "NaN", "f": 7, "g": None}}
    expected = {"a": None, "b": [[1.0, None], [2.0, 3.5]], "c": {"d": None, "e": "NaN", "f": 7, "g": None}}
    assert finite(document) == expected
    json.dumps(finite(document), allow_nan=False)
