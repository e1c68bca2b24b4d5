"""What counts: one timestamp per token becomes latencies, percentiles, attainment, goodput.

``times``       token times of a simulated answer, worked out when asked for
``record``      what is kept of one request, and the Recorder that a driver feeds
``latency``     TTFT, TPOT, gaps (ITL), E2E, as the course defines them
``variants``    the definitions of other papers and tools, under names that say whose they are
``answers``     first and last tokens of many answers as arrays
``pooled``      numbers of all tokens together, counted where many are alike
``statistics``  pooled samples of a run, percentiles
``attainment``  the share of requests that meet an SLO, and the rate of good requests
``result``      result JSON with the field names of ``vllm bench serve``
``peaks``       the two peak figures that go into it
``summary``     the table that the command line prints
"""
