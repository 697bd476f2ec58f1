"""Trained models as cells, and what studies of them share: step times, loss against cost, figures."""
