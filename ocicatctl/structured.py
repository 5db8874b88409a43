"""Documents for programs: JSON and YAML.

Pure: no I/O.
"""

import json
from typing import Any

import yaml


def structured(document: Any, output: str) -> str:
    """Write *document*, which has plain values only, as ``json`` or ``yaml``."""
    if output == "yaml":
        return yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
