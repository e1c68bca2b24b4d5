"""What an engine says of itself between two steps: who runs and waits, what memory holds, what workers went through."""

from __future__ import annotations

from course.engine.disaggregated import DisaggregatedEngine
from course.engine.front import Engine


def standing(engine: Engine) -> tuple[dict[str, float], dict[str, float]]:
    """Gauges and counters, by the names that `course.engine.server.measures` knows; to be called in its thread."""
    instances = list(engine.cluster.instances.values())
    pools = [instance.memory.pool for instance in instances]
    used = sum(pool.num_used_blocks for pool in pools)
    gauges: dict[str, float] = {
        "num_running": sum(len(instance.running) + len(instance.held) for instance in instances),
        "num_waiting": sum(len(instance.waiting) for instance in instances),
        "kv_usage": used / max(1, sum(pool.num_blocks for pool in pools)),
        "kv_blocks_used": used,
    }
    counters: dict[str, float] = {
        "prefix_queries": engine.num_looked_up_tokens,
        "prefix_hits": engine.num_cached_tokens,
    }
    if not isinstance(engine, DisaggregatedEngine):
        return gauges, counters
    gauges["workers"] = sum(worker.is_ready for worker in engine.workers)
    gauges["num_held"] = sum(len(instance.held) for instance in instances)
    lives, moves = engine.statistics, engine.transfers
    counters |= {
        "workers_lost": lives.num_lost,
        "worker_restarts": lives.num_restarts,
        "answers_recomputed": lives.num_recomputed,
        "tokens_recomputed": lives.num_recomputed_tokens,
        "prefill_step_seconds": lives.prefill_s,
        "decode_step_seconds": lives.decode_s,
        "kv_transfers": moves.num_done,
        "kv_transfers_failed": moves.num_failed,
        "kv_transfer_bytes": moves.num_bytes,
        "kv_transfer_copy_seconds": moves.copy_s,
    }
    return gauges, counters
