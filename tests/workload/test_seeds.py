import numpy as np
import pytest

from course.errors import UserError
from course.workload.hashing import chain_all, mix, mix_array
from course.workload.seeds import generator


def test_the_same_seed_and_purpose_give_the_same_numbers():
    assert generator(3, "arrivals").integers(1000, size=5).tolist() == [808, 614, 53, 342, 397]
    assert (generator(3, "arrivals").random(9) == generator(3, "arrivals").random(9)).all()


def test_purposes_and_seeds_have_streams_of_their_own():
    draws = [generator(seed, purpose).random() for seed in (0, 1) for purpose in ("arrivals", "rows")]
    assert len(set(draws)) == 4


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True, None])
def test_refuses_what_is_no_seed(seed):
    with pytest.raises(UserError, match="a seed is a whole number from 0 on"):
        generator(seed, "arrivals")


def test_mix_is_splitmix64():
    # First outputs of the published generator (java.util.SplittableRandom, seed 0).
    assert mix(0) == 0xE220A8397B1DCDAF
    assert mix(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


def test_mix_of_arrays_equals_mix_of_numbers():
    values = [0, 1, 2**32, 2**63 + 5, 2**64 - 1]
    assert mix_array(np.array(values, dtype=np.uint64)).tolist() == [mix(v) for v in values]


def test_chained_hashes_agree_up_to_the_first_difference():
    one, other = chain_all([1, 2, 3, 4]), chain_all([1, 2, 9, 4])
    assert one[:2] == other[:2]
    assert one[2] != other[2]
    assert one[3] != other[3], "the same block after another parent is another block"
