"""The wall clock: a real model serves what the control plane decides.

``local``       LocalEngine: the loop that joins control plane and executor, and its callers' doors
``executor``    carries out a batch on tensors; keeps the tokens
``sampling``    from logits to tokens
``intake``      from prompts to requests
``answer``      what a caller sees of an answer
``detokenize``  tokens become text as they come
``memory``      keep freed memory at hand
``benchmark``   measured beside transformers
``replay``      a workload served in real time
"""
