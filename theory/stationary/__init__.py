"""The stationary distribution p_st of a generator: A p_st = 0, 1ᵀp_st = 1."""
