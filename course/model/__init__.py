"""The network: a small decoder in torch that computes packed batches over a paged cache.

``config``       the shape of a model, read from a Hugging Face configuration
``weights``      checkpoints by name, and random weights
``packing``      chunks of many sequences become one batch of index arrays
``kv_cache``     blocks of keys and values
``attention``    a plain specification and a fast back end
``linear``       matrix multiplication, pre-packed where that pays
``transformer``  the network itself
``loading``      from a name to a model that is ready to run
"""
