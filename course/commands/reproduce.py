"""``python -m course reproduce``: published results, computed anew and laid beside the published numbers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from course.commands.outputs import check_writable
from course.commands.simulate import write_text
from course.errors import UserError

SUMMARY = "compute published results anew and lay them beside the published numbers"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="an entry, or how some begin, such as distserve (default: all)"
    )
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="FOLDER",
        help="your copies of public traces, for entries that need one (default: data)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the rows to FILE; - writes them out instead of the table")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put all tables into FILE, between its two marks")


def run(args: argparse.Namespace) -> int:
    """Compute and print entry by entry; a miss is a result, not a failure."""
    from course.simulator.reproduce.all import as_text, compute, count, entries_named
    from course.simulator.reproduce.page import with_tables
    from course.simulator.reproduce.register import as_json

    to_stdout = args.json == "-"
    json_file = Path(args.json) if args.json and not to_stdout else None
    check_writable(json_file, args.markdown)
    entries = entries_named(args.name)
    if args.list:
        print("\n".join(f"{entry.name:<24}{entry.paper}, {entry.place}" for entry in entries))
        return 0
    if args.markdown:
        if args.name:
            raise UserError(f"--markdown writes all entries into the page; leave {args.name} out")
        with_tables(args.markdown, [])  # a page without marks is refused now, not after minutes
    computed = []
    for each in compute(entries, args.data):
        computed.append(each)
        if not to_stdout:
            print("\n".join(as_text([each])), flush=True)
    rows = [row for entry, found in computed for row in as_json(entry, found)]
    if json_file:
        write_text(json_file, [json.dumps(rows, indent=2), "\n"])
    if args.markdown:
        write_text(args.markdown, [with_tables(args.markdown, computed)])
    print(json.dumps(rows) if to_stdout else count(computed))
    return 0
