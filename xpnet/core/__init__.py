"""What a network is and computes, to be read in this order.

`settings`, `parameters`, `regularization` and `propagation` say what a network is, and what it does with samples;
`step` is one step of gradient descent, `epochs` repeats it for every batch, and `members` does all that for an
ensemble as for one network.
"""
