"""JSON Schemas of the configuration files, made from the models, so that an editor explains and checks each key.

`python -m execpos.settings.schema` writes them into `config/`; a test says that they are current.
"""

import json

from execpos import resources
from execpos.settings.loading import FILES


def schemas() -> dict[str, str]:
    """Return file name -> text of every schema."""
    made = {}
    for name, model in FILES.items():
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
        made[name.replace(".yaml", ".schema.json")] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return made


def write() -> None:
    """Write every schema into the checkout's `config/`."""
    for name, text in schemas().items():
        (resources.folder("config") / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
