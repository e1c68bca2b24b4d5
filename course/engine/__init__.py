"""The wall clock: a real model serves what the control plane decides.

``front``       Engine: what all engines have in common, the doors of their callers
``local``       LocalEngine: the loop that joins control plane and executor
``disaggregated`` DisaggregatedEngine: the same on many workers
``workers/``    their processes
``transfer/``   keys and values move between them
``texts``       the tokens of all sequences: batches become steps in plain numbers
``executor``    carries out a step on tensors
``forward``     one forward pass; on a GPU, decode steps as CUDA graphs
``sampling``    from logits to tokens
``intake``      from prompts to requests
``answer``      what a caller sees of an answer
``detokenize``  tokens become text as they come
``stop_strings`` where an answer must stop
``server/``     OpenAI's HTTP API in front of an engine
``client/``     load on any server that speaks it
``memory``      keep freed memory at hand
``benchmark``   measured beside transformers
``replay``      a workload served in real time
"""
