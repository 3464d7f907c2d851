"""The configuration: YAML files < environment `EXECPOS_...` < secret files, resolved once at the edge into one frozen object.

`load` reads it, `Settings` holds it, `Settings.rules()` is what the domain needs of it.
"""

from execpos.settings.loading import FILES, Settings, load

__all__ = ["FILES", "Settings", "load"]
