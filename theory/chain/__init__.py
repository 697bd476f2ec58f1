"""What a chain does beyond p_st: group inverse, first passage, transition matrices, master equation, occupation."""
