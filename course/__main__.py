"""Run the course from a shell: ``python -m course COMMAND``."""

# An old interpreter has to get as far as the sentence below. So nothing newer than Python 2.7
# stands in this file (no annotations, no f-strings); the rest is imported after the check.
import os
import sys

MINIMUM = (3, 11)


def too_old(version, executable, prefix, path):
    """Say that this Python is too old and which one to use instead."""
    said = "course: this needs Python 3.11 or newer, and %s is %s." % (
        executable,
        ".".join(str(part) for part in version[:3]),
    )
    if os.path.exists(os.path.join(prefix, "pyvenv.cfg")):
        said += " It stands in an environment of its own: remove that first (rm -r %s)." % prefix
    for name in ["python3.%d" % minor for minor in range(11, 20)]:
        if any(os.path.exists(os.path.join(folder, name)) for folder in path.split(os.pathsep)):
            return said + " There is a newer one here: make lab PYTHON=%s (or %s -m course lab)" % (name, name)
    return said + " Install one (python.org, your package manager, or conda), then: make lab PYTHON=python3.12"


if __name__ == "__main__":
    if sys.version_info < MINIMUM:
        sys.stderr.write(too_old(sys.version_info, sys.executable, sys.prefix, os.environ.get("PATH", "")) + "\n")
        sys.exit(2)
    from course.commands import main

    sys.exit(main(sys.argv[1:]))
