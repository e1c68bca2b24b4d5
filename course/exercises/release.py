"""The students' copy of the course: everything but the answers of labs, as a folder and as a zip.

What goes in is named below, and nothing else does. Before anything is written, each notebook is checked to be unsolved,
and every file is searched for the labs' answers (``leaks``).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course.errors import UserError
from course.exercises import registry
from course.exercises.definition import Exercise
from course.exercises.leaks import SECRET_FILES, leaks, secrets_of, squeezed
from course.exercises.submission import read_cells

ROOT = registry.CURRICULUM.parents[1]
NAME = "llm-serving-course"
MANIFEST = "MANIFEST.sha256"
"""Which files were released, as ``sha256sum -c`` reads it; a folder that has it may be replaced."""

AT_THE_TOP = (
    *("README.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.txt", "constraints.txt", ".gitignore"),
)
WITH_CUTS = ("README.md", "Makefile", "docs/README.md")
FOR_TEACHERS = (
    *("course/commands/build.py", "course/commands/release.py", "course/commands/test.py"),
    *("course/exercises/leaks.py", "course/exercises/release.py", "docs/authoring.md", "docs/teaching.md"),
)
NOT_OF_A_LAB = (*SECRET_FILES, "lesson.py")
"""What students do not get of a lab's folder in the curriculum. The notebook is built from the last."""

CUT = ("not in a release", "end of what is not in a release")
"""Lines between lines that say so are left out."""

CACHES = frozenset(("__pycache__", ".venv", ".ipynb_checkpoints", ".pytest_cache"))
EARLIEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Release:
    """What students get, and how many secret lines are not in it."""

    files: Mapping[str, bytes]
    lessons: Sequence[str]
    labs: Sequence[str]
    num_secrets: int


def prepare(lessons: Sequence[str], labs: Sequence[str]) -> Release:
    """Put together a release of these notebooks (``02_kv_cache.ipynb``) and labs (``lab1_kv_cache``).

    Raises ``UserError`` where a notebook is solved or a file holds an answer.
    """
    exercises = {name: registry.load(name) for name in own_lessons()}
    files = dict(sorted(student_files(lessons, labs).items()))
    check_unsolved(files, [exercise for known in exercises.values() for exercise in known])
    secrets = secrets_of_labs({name: known for name, known in exercises.items() if any(e.is_lab for e in known)})
    found = leaks(files, secrets)
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise UserError(f"nothing was released, for it would give away an answer: {found[0]}{more}; take it out there")
    return Release(files | {MANIFEST: manifest(files)}, lessons, labs, len(secrets))


def own_lessons() -> list[str]:
    """The lessons and labs that stand in the course itself."""
    return [name for name, (folder, _) in registry.folders().items() if folder.parent == registry.CURRICULUM]


def secrets_of_labs(labs: Mapping[str, list[Exercise]]) -> dict[str, str]:
    """What no student may get, of all labs, whether they are released or not."""
    taught = b"".join(squeezed(file.read_bytes()) for file in sorted(registry.CURRICULUM.glob("lesson_*/*.py")))
    found: dict[str, str] = {}
    for name, exercises in labs.items():
        found |= secrets_of(exercises, registry.folders()[name][0], taught)
    return found


def student_files(lessons: Sequence[str], labs: Sequence[str]) -> dict[str, bytes]:
    """Every file of the students' copy, by its path in it."""
    files = {name: (ROOT / name).read_bytes() for name in AT_THE_TOP}
    for folder in ("course", "docs"):
        files |= {path: file.read_bytes() for path, file in files_below(ROOT / folder) if is_for_students(path, labs)}
    files |= {f"notebooks/{name}": (ROOT / "notebooks" / name).read_bytes() for name in ("index.ipynb", *lessons)}
    for lab in labs:
        files |= {path: file.read_bytes() for path, file in files_below(ROOT / "labs" / lab) if belongs(path, lab)}
    return files | {name: without_cuts(files[name].decode()).encode() for name in WITH_CUTS}


def is_for_students(path: str, labs: Sequence[str]) -> bool:
    """Whether a file of the package or a page is; of the curriculum, lessons and the labs that are handed out."""
    place = PurePosixPath(path).parts
    if place[1] == "curriculum" and len(place) > 3 and not place[2].startswith("lesson_"):
        return place[2] in labs and place[-1] not in NOT_OF_A_LAB
    return path not in FOR_TEACHERS


def belongs(path: str, lab: str) -> bool:
    """Whether a file is part of a lab; raises where it is not: a teacher's folder may hold grades and solutions."""
    inside = path.removeprefix(f"labs/{lab}/")
    if inside in (f"{lab}.ipynb", "README.md") or inside.startswith("data/"):
        return True
    raise UserError(f"{path} is neither the lab's notebook nor its README.md nor in data/: move it out of labs/ first")


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Paths from the root, and files; without caches and hidden files."""
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(ROOT).parts
        if file.is_file() and not any(part in CACHES or part.startswith(".") for part in parts):
            yield "/".join(parts), file


def without_cuts(text: str) -> str:
    """A text without the regions that are marked as not released."""
    kept, inside = [], False
    begin, end = CUT
    for line in text.splitlines(keepends=True):
        if end in line:
            inside = False
        elif begin in line:
            inside = True
        elif not inside:
            kept.append(line)
    return "".join(kept)


def check_unsolved(files: Mapping[str, bytes], exercises: Sequence[Exercise]) -> None:
    """Raise unless every cell that hands in an exercise is as it was handed out."""
    stubs = {exercise.id: exercise.stub_cell.strip() for exercise in exercises}
    for path in files:
        for cell in read_cells(ROOT / path) if path.endswith(".ipynb") else ():
            for exercise_id in sorted({*cell.marks, *cell.noted} & stubs.keys()):
                if cell.text.strip() != stubs[exercise_id]:
                    remedy = f"make it anew with python -m course build {PurePosixPath(path).stem}"
                    raise UserError(f"{path} has an answer to {exercise_id}: {remedy}")


def manifest(files: Mapping[str, bytes]) -> bytes:
    """The checksum of every file."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


def write(release: Release, target: Path) -> tuple[Path, Path]:
    """Write folder and zip into ``target``; a former release there is replaced, anything else is not."""
    check_free(target)
    folder, archive = target / NAME, target / f"{NAME}.zip"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".release-") as place:
        new, packed = Path(place) / NAME, Path(place) / archive.name
        for name, data in release.files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(data)
        write_zip(release.files, packed)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(new, folder)
        os.replace(packed, archive)
    return folder, archive


def write_zip(files: Mapping[str, bytes], archive: Path) -> None:
    """The same files give the same bytes, whenever and by whomever they are packed (with one zlib)."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{NAME}/{name}", EARLIEST)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            packed.writestr(entry, files[name])


def check_free(target: Path) -> None:
    """Raise ``UserError`` if anything but a release would be lost, or if the release would be part of the next one."""
    for part in ("course", "notebooks", "labs"):
        if target.resolve().is_relative_to(ROOT / part):
            raise UserError(f"{target} lies in {part}/, which is released itself: name a folder elsewhere")
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: name a folder for the release")
    if not target.exists() or not any(target.iterdir()):
        return
    if not (target / NAME / MANIFEST).is_file():
        raise UserError(f"{target} is not empty and holds no former release: name a new or an empty folder")
    for name in changed_since(target / NAME):
        raise UserError(f"{target / NAME / name} was made or changed after the release: move it away first")


def changed_since(folder: Path) -> list[str]:
    """Files of a former release that are not as they were written, and those that came later; caches aside."""
    lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    present = {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
    return [
        name.as_posix()
        for name in sorted(present - {Path(MANIFEST)})
        if CACHES.isdisjoint(name.parts)
        and hashlib.sha256((folder / name).read_bytes()).hexdigest() != written.get(name.as_posix())
    ]
