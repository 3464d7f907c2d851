#!/usr/bin/env bash
# Compiles the Avro codec (codecs/_native.c) for the Python of the virtual environment in $1. Optional: it is faster and changes no result.
set -euo pipefail
python=$1/bin/python
codec=processors/execpos/codecs/_native

include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
compiler=${CC:-cc}
if ! command -v "$compiler" >/dev/null || [ ! -f "$include/Python.h" ]; then
  echo "no C compiler or no Python.h in $include: the codec written in Python is used (Debian: apt-get install gcc python3-dev, then make native)" >&2
  exit 1
fi

# Beside the running one first: a library must not change under a process that has it open.
"$compiler" -O2 -Wall -Wextra -shared -fPIC -I"$include" "$codec.c" -o "$codec$suffix.new"
mv "$codec$suffix.new" "$codec$suffix"
"$python" -c 'from execpos.codecs import compiled; assert compiled.NATIVE'
