import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.workload.length_tables import PROBABILITIES, QuantileTable, load_table, table_names
from course.workload.traces import read_trace

FILES = {
    "azure-conv": "azure2023_conv.csv",
    "azure-code": "azure2023_code.csv",
    "mooncake-conversation": "mooncake_conversation.jsonl",
    "mooncake-synthetic": "mooncake_synthetic.jsonl",
    "sharegpt": "sharegpt_distserve_sample.csv",
    "arxiv": "arxiv4k_lengths.csv",
    "humaneval": "humaneval_lengths.csv",
}


def test_quantiles_run_straight_in_the_logarithm():
    table = QuantileTable((0, 0.5, 1), (1, 100, 10_000))
    assert table.quantile([0, 0.25, 0.5, 0.75, 1]).tolist() == [1, 10, 100, 1000, 10_000]


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_a_fitted_table_rises_and_stays_within_its_data(lengths):
    table = QuantileTable.of(lengths)
    drawn = table.quantile(np.linspace(0, 1, 50))
    assert (np.diff(drawn) >= 0).all()
    assert drawn[0] == min(lengths)
    assert drawn[-1] == max(lengths)
    assert table.quantile(0.5) == pytest.approx(np.median(lengths), abs=0.51)


@pytest.mark.parametrize("name", table_names())
def test_shipped_tables_say_where_they_come_from_and_draw_what_they_say(name):
    table = load_table(name)
    assert table.source
    assert table.licence in {"CC-BY-4.0", "Apache-2.0", "MIT"}
    lengths = table.draw(20_000, seed=5)
    # Outputs come from coarser tables, one for each fifth of the prompts.
    for tokens, quantiles, margin in zip(lengths, (table.prompt, table.output), (0.02, 0.06), strict=True):
        for probability in (0.1, 0.25, 0.5, 0.75, 0.9):
            # Compared as shares: a step in the distribution would make any length right there.
            length = quantiles.quantile(probability)
            assert np.mean(tokens < length * 0.97) <= probability + margin
            assert np.mean(tokens <= length * 1.03) >= probability - margin


def test_azure_conversations_draw_prompt_and_output_together():
    table = load_table("azure-conv")
    joint, apart = table.draw(20_000), table.draw(20_000, joint=False)

    def medians(lengths):
        fifths = np.searchsorted(table.prompt_edges, lengths.prompt_tokens)
        return [np.median(lengths.output_tokens[fifths == i]) for i in range(5)]

    assert medians(joint) == pytest.approx([93, 99, 403, 400, 64], rel=0.05)
    assert medians(apart) == pytest.approx([141] * 5, rel=0.25)
    ranks = [np.argsort(np.argsort(tokens)) for tokens in joint]
    assert abs(np.corrcoef(*ranks)[0, 1]) < 0.1, "no rank correlation, and yet not independent"


@pytest.mark.parametrize("name", table_names())
def test_shipped_tables_are_the_quantiles_of_the_traces(name, trace_dir):
    rows = read_trace(trace_dir / FILES[name])
    prompts = np.array([row.num_prompt_tokens for row in rows])
    outputs = np.array([row.num_output_tokens for row in rows])
    table = load_table(name)
    assert QuantileTable.of(prompts) == table.prompt
    assert QuantileTable.of(outputs) == table.output
    assert table.prompt_edges == pytest.approx(np.quantile(prompts, (0.2, 0.4, 0.6, 0.8)))
    fifths = np.searchsorted(table.prompt_edges, prompts)
    for fifth, given_prompt in enumerate(table.output_by_prompt):
        assert QuantileTable.of(outputs[fifths == fifth], given_prompt.probabilities) == given_prompt


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: load_table("azure"), "unknown length table 'azure'; choose from azure-conv, azure-code"),
        (lambda: load_table("humaneval").draw(0), "lengths of 0 requests cannot be drawn"),
        (lambda: QuantileTable.of([]), "a quantile table cannot be fitted to no lengths"),
        (lambda: QuantileTable((0, 1), (1, 2, 3)), "as many probabilities as lengths"),
        (lambda: QuantileTable((0.1, 1), (1, 2)), "from probability 0 to probability 1"),
        (lambda: QuantileTable((0, 0.5, 1), (1, 5, 2)), "must rise, from a length of at least 1"),
        (lambda: QuantileTable((0, 1), (0, 2)), "must rise, from a length of at least 1"),
    ],
)
def test_refuses_tables_that_are_none(call, sentence):
    with pytest.raises(UserError, match=sentence):
        call()


def test_nineteen_points():
    assert len(PROBABILITIES) == 19
