"""The library's import: late, quiet, in its place; and the key of a login."""

import os
import pickle
import platform
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from execpos.brokers.shioaji import Credentials, sdk
from execpos.errors import ConfigError, DependencyError

# Kills a process that makes or connects a socket, on whatever thread and in whatever language: the library's network is native code, which
# Python's audit hooks do not see. The numbers are those of the system calls socket and connect.
_TRAP = """
import ctypes, os, struct, sys
numbers = {"x86_64": (0xC000003E, 41, 42), "aarch64": (0xC00000B7, 198, 203)}
arch, sock, connect = numbers[os.uname().machine]
def step(code, jump_true, jump_false, value): return struct.pack("HBBI", code, jump_true, jump_false, value)
rules = b"".join([
    step(0x20, 0, 0, 4), step(0x15, 1, 0, arch), step(0x06, 0, 0, 0x7FFF0000), step(0x20, 0, 0, 0),
    step(0x15, 1, 0, sock), step(0x15, 0, 1, connect), step(0x06, 0, 0, 0x80000000), step(0x06, 0, 0, 0x7FFF0000),
])
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("rules", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(rules) // 8, rules)), 0, 0) == 0, ctypes.get_errno()
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith("socket.") else None)
"""
_SOCKETS = """
import os
links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
sockets = [link for link in links if "socket" in link]
assert not sockets and not seen, (sockets, seen)
"""

linux = pytest.mark.skipif(platform.system() != "Linux", reason="system calls are watched on Linux")


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SJ_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@linux
def test_the_trap_catches_a_socket(tmp_path: Path) -> None:
    done = run(_TRAP + "import socket\nsocket.socket()\n", tmp_path)

    assert done.returncode == -31, done.stderr


@linux
def test_importing_the_adapter_imports_no_library_and_starts_no_network(tmp_path: Path) -> None:
    done = run(_TRAP + "import execpos.brokers.shioaji\nassert 'shioaji' not in sys.modules\n" + _SOCKETS, tmp_path)

    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


@linux
def test_the_librarys_import_starts_no_network_and_leaves_the_working_folder_alone(tmp_path: Path) -> None:
    """A client is another matter: making one already looks for the broker's servers."""
    (tmp_path / "work").mkdir()
    code = f"""
import time
from pathlib import Path
from execpos.brokers.shioaji import sdk
assert sdk.load(Path({str(tmp_path / "kept")!r})) is sys.modules["shioaji"]
time.sleep(0.2)
"""
    done = run(_TRAP + code + _SOCKETS, tmp_path / "work")

    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "work").iterdir()) == []
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "kept" / "shioaji.log").exists()


def test_without_the_library_the_error_says_what_to_install(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
sys.modules["shioaji"] = None
from execpos.brokers.shioaji import sdk
from execpos.errors import DependencyError
try:
    sdk.make_api(Path({str(tmp_path)!r}), simulation=True)
except DependencyError as error:
    print(error.exit_code, error)
"""
    done = run(code, tmp_path)

    assert done.stdout.startswith("4 the broker's library cannot be imported")
    assert "execpos[shioaji]" in done.stdout


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("1.7.6", True),
        ("1.7.9", True),
        ("1.7.10", True),
        ("1.7.5", False),
        ("1.8.0", False),
        ("1.6.9", False),
        ("2.7.9", False),
        ("", False),
        ("1.7.x", False),
    ],
)
def test_only_the_line_that_this_is_written_for_is_taken(version: str, *, fits: bool) -> None:
    assert sdk.supported(version) is fits


def test_a_library_of_another_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "import_module", lambda _: type("Old", (), {"__version__": "1.5.2"}))
    with pytest.raises(DependencyError, match=r"version 1\.5\.2"):
        sdk.load(tmp_path)


# -- the key


def test_a_key_comes_from_the_secrets_folder_first_and_else_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "SHIOAJI_API_KEY").write_text("from-file\n")
    environ = {"SHIOAJI_API_KEY": "from-environment", "SHIOAJI_SECRET_KEY": "secret-text"}
    found = Credentials.read(environ, str(tmp_path))

    assert (found.api_key, found.secret_key) == ("from-file", "secret-text")
    assert Credentials.read(environ).api_key == "from-environment"


@pytest.mark.parametrize("environ", [{}, {"SHIOAJI_API_KEY": "k"}, {"SHIOAJI_API_KEY": " ", "SHIOAJI_SECRET_KEY": "s"}])
def test_a_missing_key_is_named_with_where_it_belongs(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="SHIOAJI_") as caught:
        Credentials.read(environ)
    assert "EXECPOS_SECRETS_DIR" in caught.value.hint


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 5_000])
def test_a_secret_file_that_is_none_is_refused_and_not_shown(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "SHIOAJI_API_KEY").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Credentials.read({}, str(tmp_path))
    assert "xxxx" not in "".join(traceback.format_exception(caught.value))


def test_a_key_is_in_no_text_and_no_pickle() -> None:
    made = Credentials("the-api-key", "the-secret-key")

    for text in (repr(made), str(made), f"{made}", f"{[made]}"):
        assert "the-" not in text
    with pytest.raises(TypeError):
        pickle.dumps(made)
