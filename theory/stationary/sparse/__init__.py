"""p_st of sparse generators: the same elimination, in an order that keeps the fill-in small."""
