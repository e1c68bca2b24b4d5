"""Text to train on: documentation that is installed anyway, from permissively licensed packages only.

Nothing is downloaded. The text is what programmers write for each other: the language reference that
ships with Python, docstrings, and long string literals that are documentation by another name (numpy and
torch attach theirs to C functions that way).
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import inspect
import platform
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PERMISSIVE = re.compile(r"\b(MIT|0?BSD|Apache|PSF|Python Software Foundation|ISC|Unlicense|Zlib|HPND)\b", re.I)
RECIPROCAL = re.compile(r"GPL|MPL|Mozilla|EPL|Eclipse|CDDL", re.I)

# Packages whose docstrings are generated repeat one sentence ten thousand times; a cap keeps them in place.
MAX_PACKAGE_BYTES = {"plotly": 300_000, "transformers": 4_000_000}
DEFAULT_MAX_BYTES = 6_000_000

SKIPPED_PACKAGES = {"course", "pip", "setuptools", "debugpy"}  # debugpy carries a debugger under the EPL

C_MODULES = (
    "builtins",
    "math",
    "itertools",
    "os",
    "sys",
    "time",
    "io",
    "socket",
    "select",
    "signal",
    "zlib",
    "array",
    "struct",
    "itertools",
    "functools",
    "operator",
    "collections",
    "datetime",
    "sqlite3",
    "hashlib",
    "random",
    "re",
    "threading",
    "gc",
    "mmap",
    "unicodedata",
    "ssl",
    "pickle",
    "json",
)

MIN_PARAGRAPH_CHARS = 40
MIN_LETTER_SHARE = 0.72  # below it a paragraph is a table, a doctest or a formula, not a sentence
HELD_OUT_PER_MILLE = 15


@dataclass(frozen=True)
class Document:
    """The cleaned prose of one module or one documentation topic."""

    package: str
    name: str
    text: str

    @property
    def held_out(self) -> bool:
        """Whether this document is kept for measuring, decided by its name alone so that it never moves."""
        digest = hashlib.sha256(f"{self.package}/{self.name}".encode()).digest()
        return int.from_bytes(digest[:4], "big") % 1000 < HELD_OUT_PER_MILLE


@dataclass(frozen=True)
class Source:
    """Where text came from, for the model card."""

    package: str
    version: str
    licence: str
    num_bytes: int


def licence_of(metadata: Any) -> str | None:
    """Name the licence if it is permissive, else None; metadata is a package's, as importlib.metadata gives it."""
    expression = metadata.get("License-Expression")
    stated = metadata.get("License") or ""
    classifiers = [
        line.rsplit("::", 1)[-1].strip()
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    candidates = [expression, *classifiers, stated.strip().splitlines()[0] if stated.strip() else None]
    named = [text for text in candidates if text and len(text) < 160]
    if not named or any(RECIPROCAL.search(text) for text in named):
        return None
    return next((text for text in named if PERMISSIVE.search(text)), None)


def literals(source: str) -> Iterator[str]:
    """Yield docstrings and documentation-like string literals of a Python source text, in order."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    seen = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=True)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 200:
            text = inspect.cleandoc(node.value)
        else:
            continue
        if text and text not in seen:
            seen.add(text)
            yield text


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph reads like sentences."""
    if len(paragraph) < MIN_PARAGRAPH_CHARS or ">>>" in paragraph or not paragraph.isascii():
        return False
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    words = paragraph.split()
    if letters / len(paragraph) < MIN_LETTER_SHARE or len(words) < 6:
        return False
    return max(map(len, words)) < 80


def paragraphs(text: str) -> Iterator[str]:
    """Split at blank lines, trim the indentation, keep what reads like prose."""
    for block in re.split(r"\n\s*\n", text):
        block = inspect.cleandoc(block).rstrip()
        if is_prose(block):
            yield block


class Collector:
    """Gathers documents, each paragraph of the whole collection once."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.sources: list[Source] = []
        self._seen: set[bytes] = set()

    def _fresh(self, paragraph: str) -> bool:
        # Digits and white space do not make a paragraph new: generated docstrings differ only there.
        key = hashlib.md5(re.sub(r"[\W\d_]+", " ", paragraph.lower()).encode()).digest()
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def add(self, package: str, version: str, licence: str, pieces: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Add (document name, texts) pairs of one package until its cap is reached."""
        cap, num_bytes = MAX_PACKAGE_BYTES.get(package.lower(), DEFAULT_MAX_BYTES), 0
        for name, texts in pieces:
            kept = [part for text in texts for part in paragraphs(text) if self._fresh(part)]
            document = Document(package, name, "\n\n".join(kept))
            if len(document.text) < 200:
                continue
            self.documents.append(document)
            num_bytes += len(document.text)
            if num_bytes > cap:
                break
        if num_bytes:
            self.sources.append(Source(package, version, licence, num_bytes))


def _module_files(root: Path, files: Iterable[Path]) -> Iterator[tuple[str, Iterable[str]]]:
    for path in files:
        # Vendored code stands under its own licence, which the package's metadata does not name.
        if {"tests", "test", "_vendor", "_vendored", "vendor", "third_party"} & set(path.parts):
            continue
        try:
            yield path.as_posix(), literals((root / path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            continue


def _topics() -> Iterator[tuple[str, Iterable[str]]]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield f"topics/{name}", [topics[name]]


def _c_docstrings() -> Iterator[tuple[str, Iterable[str]]]:
    for name in dict.fromkeys(C_MODULES):
        module = importlib.import_module(name)
        texts = []
        for _, member in sorted(vars(module).items()):
            texts.append(inspect.getdoc(member) or "")
            if inspect.isclass(member):
                texts += [inspect.getdoc(method) or "" for _, method in sorted(vars(member).items())]
        yield f"c/{name}", texts


def collect() -> tuple[list[Document], list[Source]]:
    """Gather everything that may be used from this installation, in an order that does not vary."""
    collector = Collector()
    root = Path(sysconfig.get_path("stdlib"))
    library = sorted(
        path.relative_to(root)
        for path in root.rglob("*.py")
        if not {"site-packages", "test", "tests", "idlelib", "lib2to3"} & set(path.relative_to(root).parts)
    )
    version = platform.python_version()
    pieces = [*_topics(), *_module_files(root, library), *_c_docstrings()]
    collector.add("Python", version, "PSF-2.0", pieces)
    installed = {item.metadata["Name"]: item for item in importlib.metadata.distributions(path=sys.path)}
    for name in sorted(installed, key=str.lower):
        item = installed[name]
        licence = licence_of(item.metadata)
        if licence is None or name in SKIPPED_PACKAGES:
            continue
        files = sorted(Path(str(file)) for file in item.files or [] if str(file).endswith(".py"))
        collector.add(name, item.version, licence, _module_files(Path(str(item.locate_file(""))), files))
    return collector.documents, collector.sources
