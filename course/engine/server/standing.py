"""What an engine says of itself between two steps: who runs and waits, and what its memory holds."""

from __future__ import annotations

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
    return gauges, {}
