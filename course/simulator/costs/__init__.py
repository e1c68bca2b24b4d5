"""How long a step takes: one module per family of cost models.

``roofline``   first principles: arithmetic, bytes, overheads, communication
``fitted``     DistServe's published forms and constants for two engines on A100
``measured``   a profile that our own engine recorded, and the forms fitted to it
``swaps``      what swapping blocks adds to any of them
``registry``   `make_cost`: a cost model by its name

docs/cost_models.md explains them and says where each ends.
"""
