import pytest

from course.errors import UserError
from course.workload.request import Request, Workload


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"num_prompt_tokens": 0}, "request 7: a prompt needs at least 1 token, got 0"),
        ({"max_new_tokens": 0}, "request 7: max_new_tokens must be at least 1, got 0"),
        ({"n": 0}, "request 7: n must be at least 1, got 0"),
        ({"prompt": (1, 2)}, "request 7: num_prompt_tokens is 3 but the prompt has 2 tokens"),
    ],
)
def test_refuses_what_no_client_can_ask_for(changed, sentence):
    arguments = {"id": 7, "arrival_s": 0.0, "num_prompt_tokens": 3, "max_new_tokens": 4} | changed
    with pytest.raises(UserError) as caught:
        Request(**arguments)
    assert str(caught.value) == sentence


def test_a_workload_is_as_long_as_its_requests():
    request = Request(0, 0.0, 3, 4)
    assert len(Workload([request], {0: 2})) == 1
