"""Sampling: the right distribution, reproducible, and blind to the company in the batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from course.engine.sampling import GREEDY, Draw, Sampling, choose, uniform

LOGITS = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))


def draws(sampling: Sampling, num: int = 6) -> list[Draw]:
    return [Draw(row, sampling, request_id=row, sample=0, position=9) for row in range(num)]


def test_greedy_takes_the_best() -> None:
    assert choose(LOGITS, draws(GREEDY)) == LOGITS.argmax(dim=1).tolist()


def test_one_row_may_be_drawn_several_times() -> None:
    sampling = Sampling(temperature=2.0)
    chosen = choose(LOGITS, [Draw(3, sampling, 0, sample, 5) for sample in range(40)])
    assert len(set(chosen)) > 10


def test_company_and_order_do_not_matter() -> None:
    kinds = [GREEDY, Sampling(0.7), Sampling(1.3, top_k=5), Sampling(1.0, top_p=0.8), Sampling(1.0, 9, 0.5, seed=4)]
    mixed = [draw._replace(sampling=kinds[i % len(kinds)]) for i, draw in enumerate(draws(GREEDY))]
    together = choose(LOGITS, mixed)
    assert [choose(LOGITS, [draw])[0] for draw in mixed] == together
    assert choose(LOGITS, mixed[::-1]) == together[::-1]
    alone = [choose(LOGITS[draw.row : draw.row + 1], [draw._replace(row=0)])[0] for draw in mixed]
    assert alone == together


def test_the_key_decides() -> None:
    base = Draw(0, Sampling(1.0, seed=1), request_id=2, sample=3, position=4)
    others = [
        base._replace(sampling=Sampling(1.0, seed=2)),
        base._replace(request_id=3),
        base._replace(sample=4),
        base._replace(position=5),
        base._replace(request_id=-1),
    ]
    numbers = [uniform(draw) for draw in (base, *others)]
    assert len(set(numbers)) == len(numbers)
    assert uniform(base) == numbers[0]
    assert all(0 <= number < 1 for number in numbers)


def test_frequencies_follow_the_probabilities() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -30.0]])
    num = 4000
    counts = Counter(choose(logits, [Draw(0, Sampling(temperature=0.8), i, 0, 0) for i in range(num)]))
    wanted = torch.softmax(logits[0] / 0.8, 0).numpy()
    found = np.array([counts[token] for token in range(5)]) / num
    assert np.abs(found - wanted).max() < 0.03


def test_top_k_and_top_p_cut() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.3, 0.2]]))
    many = [Draw(0, GREEDY, i, 0, 0) for i in range(300)]

    def kept(**arguments: float) -> set[int]:
        sampling = Sampling(temperature=1.0, **arguments)  # type: ignore[arg-type]
        return set(choose(logits, [draw._replace(sampling=sampling) for draw in many]))

    assert kept() == {0, 1, 2, 3}
    assert kept(top_k=2) == {1, 2}
    assert kept(top_p=0.39) == {1}
    assert kept(top_p=0.6) == {1, 2}
    assert kept(top_k=3, top_p=0.9) == {1, 2, 3}
    assert kept(top_k=100) == {0, 1, 2, 3}


def test_extreme_temperatures_do_not_overflow() -> None:
    assert choose(LOGITS * 1e4, draws(Sampling(temperature=1e-6))) == LOGITS.argmax(dim=1).tolist()
    assert len(choose(LOGITS, draws(Sampling(temperature=1e6)))) == 6


def test_a_forbidden_token_is_never_chosen() -> None:
    best = LOGITS.argmax(dim=1).tolist()
    before = LOGITS.clone()
    for sampling in (GREEDY, Sampling(1.0)):
        some = [
            draw._replace(forbidden=frozenset({best[draw.row]} if draw.row < 3 else ())) for draw in draws(sampling)
        ]
        chosen = choose(LOGITS, some)
        assert all(chosen[row] != best[row] for row in range(3))
        assert chosen[3:] == choose(LOGITS, draws(sampling))[3:]
    assert torch.equal(LOGITS, before)


def test_a_seed_of_the_client_repeats_the_answer() -> None:
    first = Draw(0, Sampling(1.0, seed=5, by_request=False), request_id=2, sample=0, position=4)
    assert uniform(first) == uniform(first._replace(request_id=9))
    assert uniform(first) != uniform(first._replace(sample=1))
