"""What figures depend on, and nothing that names a machine.

Called by `tools.accept` and `bench.report`.
"""

import os
import platform
import re
from pathlib import Path


def machine() -> str:
    """Processor, cores, memory, kernel, Python: what figures depend on, and nothing that names this machine."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    parts = [
        model.group(1).strip() if model else platform.machine(),
        f"{os.cpu_count()} cores",
        f"{int(memory.group(1)) / 2**20:.0f} GiB memory" if memory else "",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
    ]
    return ", ".join(part for part in parts if part)
