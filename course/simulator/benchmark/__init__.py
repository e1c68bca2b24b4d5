"""The simulator beside a plain loop of the same rules.

``plain``  the rules of DistServe's simulator as one event per step: no control plane, no macro-steps
``bench``  both on the same requests: times, and whether the answers are equal
"""
