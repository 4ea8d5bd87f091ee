"""Libraries that the linker loads before the C library, and what they change of it."""

import shutil
import subprocess
from pathlib import Path

import pytest

OTHER_EXP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
double exp(double x) {
    double (*right)(double) = (double (*)(double))dlsym(RTLD_NEXT, "exp");
    return nextafter(right(x), 0.0);
}
"""

# While the file that SLOW_DISK names is there, an fsync takes as many microseconds as it says.
SLOW_FSYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int fsync(int file) {
    int (*right)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    FILE *slow = fopen(getenv("SLOW_DISK"), "r");
    long us = 0;
    if (slow) {
        if (fscanf(slow, "%ld", &us) != 1) us = 0;
        fclose(slow);
    }
    if (us) usleep(us);
    return right(file);
}
"""


def built(source: str, library: Path) -> Path:
    """Compile a library; skip the test where nothing can."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make another C library with")
    text = library.with_suffix(".c")
    text.write_text(source)
    command = [compiler, "-shared", "-fPIC", "-O0", str(text), "-o", str(library), "-lm", "-ldl"]
    subprocess.run(command, check=True)
    return library
