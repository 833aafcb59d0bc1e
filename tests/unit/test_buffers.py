"""Memory that is used again."""

import platform
import subprocess
import sys

import pytest

FRESH_PAGES = """
import resource, torch
from firstspike.buffers import keep_freed_memory
keep_freed_memory()
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def fresh_pages():
    """How many pages a tensor of 64 MB asks for after others were freed."""
    return int(subprocess.run([sys.executable, "-c", FRESH_PAGES], capture_output=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_tensors_lend_their_pages_to_the_next():
    assert fresh_pages() < 100  # of 16,384
