"""What a network is and computes, to be read in this order.

`parameters` and `settings` say what a network is; `regularization` and `propagation` what it does with samples; `step`
is one step of gradient descent, `epochs` repeats it for every batch, and `members` does all that for an ensemble as for
one network.
"""
