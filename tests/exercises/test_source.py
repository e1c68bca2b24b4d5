"""Stubs, solutions and likeness of source text."""

from __future__ import annotations

from course.exercises.source import definition_of, same_code, solution_of, solved, stub_of

MARKED = '''\
def f(x):
    """Doc."""
    y = x + 1
    # yours: about 1 line
    z = y * 2
    # end
    return z
'''


def test_stub_of_function_keeps_signature_and_docstring() -> None:
    text = 'def f(\n    x: int,\n) -> int:\n    """Doc.\n\n    More.\n    """\n    a = 1\n    return a\n'
    assert (
        stub_of(text)
        == 'def f(\n    x: int,\n) -> int:\n    """Doc.\n\n    More.\n    """\n    raise NotImplementedError\n'
    )


def test_stub_of_class_empties_each_method() -> None:
    text = 'class A:\n    """Doc."""\n\n    size: int = 3\n\n    def f(self):\n        """F."""\n        return 1\n'
    assert stub_of(text) == (
        'class A:\n    """Doc."""\n\n    size: int = 3\n\n    def f(self):\n        """F."""\n'
        "        raise NotImplementedError\n"
    )


def test_marks_leave_scaffolding() -> None:
    assert stub_of(MARKED) == (
        'def f(x):\n    """Doc."""\n    y = x + 1\n    # Your code: about 1 line\n'
        "    raise NotImplementedError\n    return z\n"
    )
    assert "# yours" not in solution_of(MARKED)
    assert "z = y * 2" in solution_of(MARKED)


def test_labs_solution_is_the_stub_with_marked_bodies() -> None:
    stub = 'def f(x: int) -> int:\n    """Doc."""\n    raise NotImplementedError\n'
    assert solved(stub, "def f(x):\n    y = x\n    return y\n") == (
        'def f(x: int) -> int:\n    """Doc."""\n    ### BEGIN SOLUTION\n    y = x\n    return y\n    ### END SOLUTION\n'
    )
    methods = "class A:\n    def f(self):\n        {}\n\n    def g(self):\n        {}\n"
    marked = "### BEGIN SOLUTION\n        return {}\n        ### END SOLUTION"
    stub, reference = (
        methods.format(one, other) for one, other in [["raise NotImplementedError"] * 2, ["return 1", "return 2"]]
    )
    assert solved(stub, reference) == methods.format(marked.format(1), marked.format(2))


def test_likeness_ignores_comments_docstrings_and_marks() -> None:
    one = "def f(x):\n    raise NotImplementedError\n"
    other = '@exercise("a.f")\ndef f(x):\n    """Doc."""\n    # todo\n    raise NotImplementedError\n'
    assert same_code(one, other, "f")
    assert not same_code(one, "def f(x):\n    return 1\n", "f")
    assert not same_code(one, "def f(x:\n", "f")


def test_text_that_is_no_python_defines_nothing() -> None:
    assert definition_of("(" * 100_000, "f") is None
    assert definition_of("def f(): \0", "f") is None
