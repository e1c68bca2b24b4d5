"""How many instances of which kind, with how much parallelism, on which GPUs (DistServe, OSDI'24, section 4).

``machines``    GPUs in nodes, and all candidates that fit
``algorithms``  DistServe's algorithms 1 and 2: from judged candidates to a placement
``layout``      which stage of which instance stands on which GPU
``trials``      judging candidates by simulation, many at a time
``tournament``  finding the best without judging all closely
``search``      a whole search, from an experiment to a placement
"""
