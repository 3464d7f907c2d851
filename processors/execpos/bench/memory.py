"""How much memory a bench's process had."""

from pathlib import Path


def peak_rss_mb() -> int:
    """Return the most memory that this process had. Not by getrusage, which counts what the parent had when it made the process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024)
