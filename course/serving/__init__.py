"""Who runs next: the control plane, in plain Python. No tensors, no clock, no input or output.

Read in this order: sequence, pool, memory, plan, draft, view, schedulers/, batch, instance, routers/, cluster.
"""
