"""Holds a description against the standard, with a validator that knows nothing of Muster: `validate.py FILE`.

The exit status is 0 only if the document is an OpenAPI 3.1 one, every reference leads somewhere, and every operation is
named once and names all of its path's parameters. It says each thing that is wrong, and where.
"""

import json
import pathlib
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

# Errors that are shown.
LINES_MAX = 50
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def main() -> int:
    description = json.loads(pathlib.Path(sys.argv[1]).read_text())
    version = description.get("openapi", "")
    wrong = [] if version.startswith("3.1.") else [f"openapi: {version} is not 3.1"]
    for error in OpenAPIV31SpecValidator(description).iter_errors():
        place = "/".join(str(part) for part in error.absolute_path)
        wrong.append(f"{place}: {error.message[:300]}")
    operations = sum(method in METHODS for path in description["paths"].values() for method in path)
    print(f"/openapi.json: {operations} operations, OpenAPI {version}, {len(wrong)} errors")
    print("\n".join(wrong[:LINES_MAX]))
    return 1 if wrong or not operations else 0


if __name__ == "__main__":
    sys.exit(main())
