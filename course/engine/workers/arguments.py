"""What a user says of workers, checked: roles, policies, devices, sizes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from course.engine.workers.crew import Station
from course.errors import UserError
from course.model.transformer import check_device
from course.serving.instance import Role
from course.serving.plan import Scheduler
from course.serving.schedulers import make_scheduler

MakeScheduler = Callable[[], Scheduler]
SCHEDULERS: dict[str, str] = {"prefill": "prefill-only", "decode": "decode-only", "mixed": "chunked-prefill"}


def read_roles(workers: Sequence[Role], short_prompts_stay: int) -> list[Role]:
    """The control plane's roles: where short prompts stay, those that decode are mixed. Raises UserError."""
    if isinstance(workers, str) or not workers:
        raise UserError(f"workers must be a list of roles, such as ('prefill', 'decode'), got {workers!r}")
    for role in workers:
        if role not in SCHEDULERS:
            raise UserError(f"workers: unknown role {role!r}; roles are: {', '.join(SCHEDULERS)}")
    if short_prompts_stay < 0:
        raise UserError(f"short_prompts_stay must be 0 (none) or a number of tokens, got {short_prompts_stay}")
    return ["mixed" if role == "decode" and short_prompts_stay else role for role in workers]


def read_policies(
    schedulers: Mapping[str, str | MakeScheduler], roles: Sequence[str] = tuple(SCHEDULERS)
) -> dict[str, MakeScheduler]:
    """What makes a scheduler for each of the roles named, which must be among ``roles``. Raises UserError."""
    for role in schedulers:
        if role not in SCHEDULERS:
            raise UserError(f"schedulers names the role {role!r}; roles are: {', '.join(SCHEDULERS)}")
        if role not in roles:
            raise UserError(f"schedulers names the role {role!r}, and no worker has it; they are {', '.join(roles)}")
    return {role: _maker(policy) for role, policy in schedulers.items()}


def _maker(policy: str | MakeScheduler) -> MakeScheduler:
    if isinstance(policy, str):
        make_scheduler(policy)  # a wrong name is found now
        return lambda: make_scheduler(policy)
    if not callable(policy):
        raise UserError(
            f"schedulers takes a policy's name or a function that makes one, got {policy!r}; "
            "every worker, also one that is started again, needs a scheduler of its own"
        )
    return policy


def make_stations(
    roles: Sequence[Role], devices: str | Sequence[str], num_blocks: int | Sequence[int]
) -> list[Station]:
    """A place for each worker; those on the CPU take turns with the cores. Raises UserError."""
    each_device = [devices] * len(roles) if isinstance(devices, str) else list(devices)
    each_num = [num_blocks] * len(roles) if isinstance(num_blocks, int) else list(num_blocks)
    for name, values in (("devices", each_device), ("num_blocks", each_num)):
        if len(values) != len(roles):
            raise UserError(f"{name} has {len(values)} values for {len(roles)} workers; give one for each, or one")
    for device in each_device:
        check_device(device)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    on_cpu = count()
    return [
        Station(i, role, device, cores[next(on_cpu) % len(cores)] if device == "cpu" and cores else None, num)
        for i, (role, device, num) in enumerate(zip(roles, each_device, each_num, strict=True))
    ]
