"""Figures of accelerators and links, and the names that find them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.hardware import Hardware, hardware_names, load_hardware
from course.simulator.links import Link, link_names, load_link
from course.simulator.shapes import load_shape


def test_all_have_figures_and_sources():
    assert {"a100-80gb", "h100", "h200", "l4"} <= set(hardware_names())
    for name in set(hardware_names()) - {"this-machine"}:
        assert load_hardware(name).source
        assert load_link(load_hardware(name).link).source
        assert load_hardware(name).host_link.startswith("pcie-")
    for name in link_names():
        assert load_link(name).source


def test_the_ridge_of_an_a100():
    assert round(load_hardware("a100-80gb").ridge_flops_per_byte) == 153


def test_h100_beside_a100():
    # Splitwise (ISCA'24), section 1: 3.43 times the compute, 1.6 times the bandwidth, the same capacity. Its compute
    # ratio compares another pair of figures; the datasheets' dense peaks give 3.17.
    a100, h100 = load_hardware("a100-80gb"), load_hardware("h100")
    assert h100.flops_s / a100.flops_s == pytest.approx(3.17, rel=0.01)
    assert h100.memory_bandwidth_bytes_s / a100.memory_bandwidth_bytes_s == pytest.approx(1.64, rel=0.01)
    assert h100.memory_bytes == pytest.approx(a100.memory_bytes, rel=0.005)


def test_a_prompt_of_opt_175b_crosses_nodes_in_18_ms():
    # DistServe's blog: 2,048 tokens over 8 x 64 GB/s; in decimal units 18.0 ms.
    link = Link(name="blog", bandwidth_bytes_s=8 * 64e9)
    assert link.transfer_s(2048 * 4.5e6) == pytest.approx(18.0e-3, rel=1e-3)
    assert link.transfer_s(2048 * load_shape("opt-175b").kv_bytes_per_token) == pytest.approx(18.9e-3, rel=2e-3)


@given(name=st.sampled_from(link_names()), size=st.integers(0, 10**10), ranks=st.integers(2, 64))
def test_an_all_reduce_moves_at_most_the_array_twice(name: str, size: int, ranks: int):
    link = load_link(name)
    once_s = size / link.bandwidth_bytes_s
    assert link.all_reduce_s(size, 1) == 0
    assert once_s <= link.all_reduce_s(size, ranks) - 2 * link.latency_s + 1e-12 <= 2 * once_s + 2e-12
    assert link.transfer_s(size) == pytest.approx(once_s + link.latency_s)


def test_unknown_names_get_the_nearest():
    with pytest.raises(UserError, match="unknown hardware 'A100': the nearest is 'a100-80gb'"):
        load_hardware("A100")
    with pytest.raises(UserError, match="unknown link 'nvlink': the nearest is 'nvlink-"):
        load_link("nvlink")


def test_impossible_figures_are_refused():
    with pytest.raises(UserError, match="memory_bytes must be positive"):
        Hardware(name="x", memory_bytes=0, flops_s=1, memory_bandwidth_bytes_s=1)
    with pytest.raises(UserError, match="needs a bandwidth above 0"):
        Link(name="x", bandwidth_bytes_s=0)
