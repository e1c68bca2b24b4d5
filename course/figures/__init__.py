"""Pictures: pure functions, plain data in, a plotly Figure out. Nothing here schedules, measures or displays.

Beside every picture stands a ``..._summary`` with the same arguments: one line of text with rounded numbers, for
readers who cannot see it and for tests that compare notebooks.

``palette``              the colours of prefill, decode, waiting and transfer, the same in the whole course
``style``                what all figures share: transparent background, fonts for a class room
``watch``                records what each instance of a cluster ran, on either clock
``spans``                from that record to what each request and each instance was doing when
``timeline``             who runs when
``steps``                who runs in which step, as a grid
``latency``              TTFT and TPOT side by side, as distributions
``overview``             both of these in one picture
``budgets``              what a token budget does, and a run with its stalls marked
``gaps``                 the tokens of a stream over time, stalls marked
``attention``            which token looks at which
``masks``                which keys a token may look at, cell by cell
``prompt_cost``          the linear and the quadratic part of TTFT
``kv_memory``            what fills a GPU's memory, and how many sequences fit
``decode_cost``          time per token with and without a cache
``drawing``              shows an SVG picture in a notebook
``block_map``            who holds which block of a paged memory; lost blocks in red
``prefix_tree``          cached blocks as a tree; the wrong one in red
``prefix_reuse``         prompt tokens from the prefix cache, TTFT and TPOT
``memory_shares``        what KV memory is used for, by the way it is given
``tiles``                attention tile by tile: which tile when, and what that saves
``two_pools``            the blocks of two workers, and what is wrong with them in red
``together_apart``       prefill and decode on the same workers against workers of their own
``slo_cloud``            TTFT against TPOT, the corner where both are good, and attainment against the rate
``roofline``             what limits each operator: arithmetic or bytes
``queue_curves``         mean TTFT against the rate: formulas, and simulations beside them
``prediction``           predicted beside measured, and how far off
``token_rows``           when each token of each request came out
"""

from course.figures.attention import attention_pattern, attention_summary
from course.figures.block_map import Held, block_map, block_map_summary
from course.figures.budgets import BudgetPoint, budget_overview, budget_summary
from course.figures.decode_cost import cached_vs_uncached, cached_vs_uncached_summary
from course.figures.drawing import Drawing
from course.figures.gaps import token_gaps, token_gaps_summary
from course.figures.kv_memory import MemoryUse, kv_memory, kv_memory_summary
from course.figures.latency import latency_distributions, latency_summary
from course.figures.masks import mask_grid, mask_summary
from course.figures.memory_shares import MemoryShares, memory_shares, memory_shares_summary
from course.figures.overview import serving_overview, serving_summary
from course.figures.prediction import predicted_measured, predicted_measured_summary
from course.figures.prefix_reuse import PrefixUse, prefix_reuse, prefix_reuse_summary
from course.figures.prefix_tree import TreeBlock, blocks_of, prefix_tree, prefix_tree_summary
from course.figures.prompt_cost import PromptCost, prompt_cost, prompt_cost_summary
from course.figures.queue_curves import Way, queue_curves, queue_curves_summary
from course.figures.roofline import Dot, Roof, phases_under_roof, phases_under_roof_summary, roofline, roofline_summary
from course.figures.slo_cloud import Cloud, Curve, slo_cloud, slo_cloud_summary
from course.figures.steps import steps_grid, steps_summary
from course.figures.tiles import (
    AttentionWay,
    TileWalk,
    attention_ways,
    attention_ways_summary,
    tile_walk,
    tile_walk_summary,
)
from course.figures.timeline import timeline, timeline_summary, timelines, timelines_summary
from course.figures.together_apart import Served, Toll, together_apart, together_apart_summary
from course.figures.token_rows import token_rows, token_rows_summary
from course.figures.two_pools import PoolState, two_pools, two_pools_summary
from course.figures.watch import ChunkRun, History, Move, Step, WatchedCluster

__all__ = [
    "AttentionWay",
    "BudgetPoint",
    "ChunkRun",
    "Cloud",
    "Curve",
    "Dot",
    "Drawing",
    "Held",
    "History",
    "MemoryShares",
    "MemoryUse",
    "Move",
    "PoolState",
    "PrefixUse",
    "PromptCost",
    "Roof",
    "Served",
    "Step",
    "TileWalk",
    "Toll",
    "TreeBlock",
    "WatchedCluster",
    "Way",
    "attention_pattern",
    "attention_summary",
    "attention_ways",
    "attention_ways_summary",
    "block_map",
    "block_map_summary",
    "blocks_of",
    "budget_overview",
    "budget_summary",
    "cached_vs_uncached",
    "cached_vs_uncached_summary",
    "kv_memory",
    "kv_memory_summary",
    "latency_distributions",
    "latency_summary",
    "mask_grid",
    "mask_summary",
    "memory_shares",
    "memory_shares_summary",
    "phases_under_roof",
    "phases_under_roof_summary",
    "predicted_measured",
    "predicted_measured_summary",
    "prefix_reuse",
    "prefix_reuse_summary",
    "prefix_tree",
    "prefix_tree_summary",
    "prompt_cost",
    "prompt_cost_summary",
    "queue_curves",
    "queue_curves_summary",
    "roofline",
    "roofline_summary",
    "serving_overview",
    "serving_summary",
    "slo_cloud",
    "slo_cloud_summary",
    "steps_grid",
    "steps_summary",
    "tile_walk",
    "tile_walk_summary",
    "timeline",
    "timeline_summary",
    "timelines",
    "timelines_summary",
    "together_apart",
    "together_apart_summary",
    "token_gaps",
    "token_gaps_summary",
    "token_rows",
    "token_rows_summary",
    "two_pools",
    "two_pools_summary",
]
