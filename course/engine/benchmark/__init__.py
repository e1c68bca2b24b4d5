"""The engine measured beside Hugging Face transformers, on the same work in one run.

``work``    the requests
``ours``    our engine, with and without pre-packed weights
``hf``      transformers: one by one, static batches, continuous batching
``worker``  a process that holds one system and runs the work when told to
``breakdown``  where a decode step's time goes
``bench``   all systems side by side: the rows of the table
"""
