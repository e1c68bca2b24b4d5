"""What arrives: requests, trace readers, arrival processes, length distributions, SLOs.

``request``   Request and Workload
``traces``    readers of published traces: a file becomes a list of TraceRow
``arrivals``  Poisson, gamma, constant, all at once: arrival times from a rate and a seed
``modulated`` on/off, a staircase, a wave: arrival processes whose rate changes
``lengths``   fixed, lognormal, resampled from a trace: prompt and output lengths
``length_tables``  quantiles of public data sets, prompt and output drawn together
``build``     from TraceRows to a Workload: limit, speed, fit into a context
``prompts``   prompt tokens and prefix hashes that agree about what is shared
``slo``       the limits that a user sets
"""
