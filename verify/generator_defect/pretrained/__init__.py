"""Blocks of pretrained transformers, as Hugging Face has them, held against a generator.

A block is recorded while the model reads a text, with the keyword arguments that the model gave it (replay.py), and
replayed with the same ones: an eager block without its mask is silently bidirectional. Its Jacobians take d + H·c
forward-mode passes instead of T·d (passes.py), through an attention function that the block calls in place of its own
(probe.py). source.py opens models and texts, measurement.py has the figures of each layer.
"""
