"""What the slow path's attention costs: P² fewer score and value products per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from verify.claim import Exact, ExactClaim, Profile

if TYPE_CHECKING:
    from network import FastSlowLM


def check(profile: Profile) -> Exact:
    """Count the products of every attention call of a forward pass; fast over slow per layer, against P²."""
    return _counted(profile.seed, pool_by=1)


def mutant(profile: Profile) -> Exact:
    """The slow path pools half as many tokens as the period says."""
    return _counted(profile.seed, pool_by=2)


def _counted(seed: int, pool_by: int) -> Exact:
    from dataclasses import replace

    from verify.claims._networks import model_of, random_configs

    rows, worst = [], 0.0
    for number, config in enumerate(random_configs(seed, arms=("coupled", "blind"))):
        period, length = config.period, config.block_size
        if period % pool_by:
            continue
        if number % 4 < 2:
            length -= length % period
        built = replace(config, period=period // pool_by, block_size=length)
        calls = _attention_calls(model_of(built, seed + number), length)
        ratio = calls[0]["products"] / calls[1]["products"]
        # P divides T: P²; else the tokens after the last complete block are in no pool.
        expected = (length / (length // period)) ** 2
        worst = max(worst, abs(ratio / expected - 1.0))
        rows.append({"period": period, "length": length, "ratio": ratio, "expected": expected})
    divided = sum(row["length"] % row["period"] == 0 for row in rows)
    return Exact(
        quantity="largest relative difference between counted and predicted ratio of products",
        measured=worst,
        bound=8 * 2.0**-53,
        reason=f"{len(rows)} random configurations, P divides T in {divided}; counted as dense T × T products (a "
        "causal kernel halves both paths)",
        details={"rows": rows, "configurations": len(rows)},
    )


def _attention_calls(model: FastSlowLM, length: int) -> list[dict[str, Any]]:
    """Products of one fast and one slow attention call, in this order: 2 B h T_q T_k d_h each, from its arguments."""
    import torch
    from torch.overrides import TorchFunctionMode

    seen: list[int] = []

    class Counting(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.nn.functional.scaled_dot_product_attention:
                q, k = args[0], args[1]
                seen.append(2 * q.shape[:-1].numel() * k.shape[-2] * q.shape[-1])
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Counting():
        model(torch.zeros(2, length, dtype=torch.int64))
    fast, slow = len(model.fast), model.config.n_slow_layer
    if len(seen) != fast + slow:
        raise RuntimeError(f"{len(seen)} attention calls where the model has {fast} fast and {slow} slow layers")
    before = model.config.coupling_layer
    return [{"products": seen[0]}, {"products": seen[before]}]


CLAIM = ExactClaim(
    id="slow_attention_cost",
    statement="Attention over T/P pooled tokens costs P² less per layer than attention over T tokens (score and value "
    "products; P divides T).",
    source="the paper's cost of the slow path",
    check=check,
    mutant=mutant,
    mutation="the slow path pools half as many tokens as the period says",
)
