"""What may be trained on: licences, prose, no paragraph twice."""

from email.message import Message

import pytest

from course.model.training.corpus import Collector, Document, is_prose, licence_of, literals


def metadata(**fields):
    message = Message()
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "BSD-3-Clause"}, "BSD-3-Clause"),
        ({"License": "MIT"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: Apache Software License"}, "Apache Software License"),
        ({"License_Expression": "MPL-2.0 AND MIT"}, None),
        ({"License": "LGPL-2.1"}, None),
        ({"License": "Proprietary"}, None),
        ({}, None),
    ],
)
def test_only_permissive_licences_count(fields, licence):
    assert licence_of(metadata(**fields)) == licence


def test_docstrings_and_long_literals_are_found():
    long = " ".join(["A sentence that documents something."] * 8)
    source = f'"""Module."""\ndef f():\n    """Function."""\nadd_doc("f", """{long}""")\nshort = "no"\n'
    assert sorted(literals(source)) == sorted(["Module.", "Function.", long])
    assert list(literals("def broken(:")) == []


def test_tables_and_doctests_are_no_prose():
    assert is_prose("Return the number of elements that were removed from the list.")
    assert not is_prose(">>> f(1, 2)\n3 and some more words to make it long enough")
    assert not is_prose("| 1.0 | 2.0 | 3.0 |\n| 4.0 | 5.0 | 6.0 |\n| 7 | 8 | 9 | 10 |")


def test_a_paragraph_is_kept_once_whatever_its_digits():
    collector = Collector()
    text = "\n\n".join(f"Paragraph about a {word} that is long enough to be kept." * 2 for word in ("cat", "dog"))
    collector.add("a", "1", "MIT", [("one.py", [text]), ("two.py", [text.replace("a cat", "a  cat")])])
    assert len(collector.documents) == 1
    assert collector.sources[0].num_bytes == len(collector.documents[0].text)


def test_what_is_held_out_is_decided_by_the_name_alone():
    names = [Document("p", f"{index}.py", "") for index in range(4000)]
    share = sum(item.held_out for item in names) / len(names)
    assert 0.008 < share < 0.025
    assert [item.held_out for item in names] == [Document("p", item.name, "other").held_out for item in names]
