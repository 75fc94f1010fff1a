"""The definition and the computation of a network, to be read in this order.

`parameters` and `settings` define a network; `regularization` and `propagation` compute its forward and backward pass;
`step` is one step of gradient descent; `epochs` repeats it for every batch; `members` does all that for an ensemble, or
for a single network.
"""
