# pragma version ==0.4.3
"""A registry that lists what a test tells it to."""

is_market: public(HashMap[address, bool])


@external
def add(market: address):
    self.is_market[market] = True
