"""What the slow path's attention costs: P² fewer score and value products per layer, over means of P tokens each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verify.claim import Exact, ExactClaim, Mutant, Profile

if TYPE_CHECKING:
    from torch import Tensor

    from network import FastSlowLM

ROUNDING = 8 * 2.0**-53  # of the ratio of two integers
FEW = 12  # configurations of a mutant


def check(profile: Profile) -> Exact:
    """Count the products of every attention call of a forward pass; fast over slow per layer, against P²."""
    return _counted(profile.seed)


def mutant(profile: Profile) -> Exact:
    """The slow path pools half as many tokens as the period says."""
    return _counted(profile.seed, count=FEW, pool_by=2)


def _counted(
    seed: int,
    *,
    count: int = 100,
    pool_by: int = 1,
    counted_as: float = 1.0,
    expected_of: Callable[[int, int], float] = lambda length, period: (length / (length // period)) ** 2,
    prepare: Callable[[FastSlowLM], None] = lambda model: None,
) -> Exact:
    """pool_by: divides the model's period. counted_as: a factor of the slow path's count. prepare: done to the model.

    Two departures in units of rounding, the larger of which is measured: of the counted ratio from the predicted one
    (P divides T: P²; else the tokens after the last complete block are in no pool), and of each pooled token from the
    mean of its P tokens: cheap attention over anything else would not be attention over the sequence.
    """
    from dataclasses import replace

    from verify.claims._networks import model_of, random_configs

    rows, worst = [], {"ratio of products": 0.0, "pooled tokens from means": 0.0}
    # Without windows: what they save on the fast path is no saving of the slow one.
    whole = random_configs(seed, arms=("coupled", "blind"), count=count, attention_window=None)
    for number, config in enumerate(whole):
        period, length = config.period, config.block_size
        if period % pool_by:
            continue
        if number % 4 < 2:
            length -= length % period
        built = replace(config, period=period // pool_by, block_size=length)
        model = model_of(built, seed + number)
        prepare(model)
        calls, departure = _attention_calls(model, length, period)
        ratio = calls[0] / (calls[1] * counted_as)
        expected = expected_of(length, period)
        worst["ratio of products"] = max(worst["ratio of products"], abs(ratio / expected - 1.0) / ROUNDING)
        worst["pooled tokens from means"] = max(worst["pooled tokens from means"], departure)
        rows.append({"period": period, "length": length, "ratio": ratio, "expected": expected})
    divided = sum(row["length"] % row["period"] == 0 for row in rows)
    largest = max(worst, key=worst.__getitem__)
    return Exact(
        quantity="largest departure of the ratio of products from the predicted one, and of a pooled token from the "
        "mean of its P tokens, over rounding",
        measured=worst[largest],
        bound=1.0,
        reason=f"{len(rows)} random configurations, P divides T in {divided}; counted as dense T × T products (a "
        f"causal kernel halves both paths); worst: {largest}",
        details={"rows": rows, "configurations": len(rows), "worst": worst},
    )


def _attention_calls(model: FastSlowLM, length: int, period: int) -> tuple[tuple[float, float], float]:
    """Products of a fast and a slow attention call, 2 B h T_q T_k d_h each, from its arguments; and how far the tokens
    that the slow path gets are from the means of P tokens, over rounding."""
    import torch
    from torch.overrides import TorchFunctionMode

    seen: list[int] = []
    entered: list[Tensor] = []
    pooled: list[Tensor] = []

    class Counting(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.nn.functional.scaled_dot_product_attention:
                q, k = args[0], args[1]
                seen.append(2 * q.shape[:-1].numel() * k.shape[-2] * q.shape[-1])
            return func(*args, **(kwargs or {}))

    coupling: Any = model.coupling
    hooks = [
        coupling.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0].clone())),
        coupling.slow.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0].clone())),
    ]
    rng = torch.Generator().manual_seed(length)
    tokens = torch.randint(model.config.vocab_size, (2, length), generator=rng)
    try:
        with torch.no_grad(), Counting():
            model(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    fast, slow = len(model.fast), model.config.n_slow_layer
    if len(seen) != fast + slow:
        raise RuntimeError(f"{len(seen)} attention calls where the model has {fast} fast and {slow} slow layers")
    before = model.config.coupling_layer
    return (float(seen[0]), float(seen[before])), _from_means(entered[0], pooled[0], period, model.config.arm)


def _from_means(x: Tensor, y: Tensor, period: int, arm: str) -> float:
    """The largest departure of y[B, N, d] from the means of P tokens of x, over P η and their size."""
    import torch

    blocks = x.shape[1] // period
    if y.shape[1] != blocks:
        return float("inf")
    tokens = x[:, : blocks * period].unflatten(1, (blocks, period))
    means = torch.stack([tokens[:, :, t] for t in range(period)]).double().cumsum(0)[-1] / period
    if arm == "blind":
        means = means.flip(0)  # it reads the other sequence of two
    size = tokens.abs().amax(2) * period * torch.finfo(x.dtype).eps
    return float(((y - means).abs() / size.clamp_min(1e-300)).max())


def _with_pool(name: str) -> Callable[[Profile], Exact]:
    """The check, with a broken pool of the token clock's claim in the place of the network's `block_mean`."""

    def run(profile: Profile) -> Exact:
        import network.model
        from verify.claims import token_clock
        from verify.claims._broken import replaced

        with replaced(network.model, "block_mean", getattr(token_clock, name)):
            return _counted(profile.seed, count=FEW)

    return run


def _incomplete_block(profile: Profile) -> Exact:
    """The tokens after the last complete block are pooled as well: the prediction is (T/P)² for any T."""
    return _counted(profile.seed, count=FEW, expected_of=lambda length, period: (length / -(-length // period)) ** 2)


def _one_key_more(profile: Profile) -> Exact:
    """Every pooled token reads one key more, a sink."""

    def prepare(model: FastSlowLM) -> None:
        import torch

        coupling: Any = model.coupling
        for block in coupling.slow.blocks:
            attention = block.attention

            def forward(x: Tensor, rotary: Tensor, cache: Any = None, attention: Any = attention) -> Tensor:
                from network.rotary import queries_keys_values

                batch, length, width = x.shape
                q, k, v = (
                    u.view(batch, length, attention.heads, -1).transpose(1, 2)
                    for u in queries_keys_values(x, attention.qkv.weight, rotary)
                )
                k, v = (torch.cat([torch.zeros_like(u[:, :, :1]), u], 2) for u in (k, v))
                y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
                return attention.out(y.transpose(1, 2).reshape(batch, length, width))

            attention.forward = forward

    return _counted(profile.seed, count=FEW, prepare=prepare)


CLAIM = ExactClaim(
    id="slow_attention_cost",
    statement="Attention over T/P pooled tokens costs P² less per layer than attention over T tokens (score and value "
    "products; P divides T).",
    source="the paper's cost of the slow path",
    check=check,
    mutant=mutant,
    mutation="the slow path pools half as many tokens as the period says",
    mutants=(
        Mutant("half_a_block", "the network's pool averages P/2 of its P tokens", _with_pool("half_of_each_block")),
        Mutant("pool_one_token_late", "the network's blocks begin one token late", _with_pool("one_token_late")),
        Mutant(
            "uneven_pool",
            "the last token of a block weighs 1 % more in the network's pool",
            _with_pool("uneven_weights"),
        ),
        Mutant("incomplete_block", "the tokens after the last complete block are counted in", _incomplete_block),
        Mutant("one_key_more", "each pooled token reads one key more", _one_key_more),
        Mutant(
            "linear_in_p",
            "the prediction is P and not P²",
            lambda profile: _counted(profile.seed, count=FEW, expected_of=lambda T, P: T / (T // P)),
        ),
        Mutant(
            "one_per_cent",
            "the slow path's products are counted 1 % too low",
            lambda profile: _counted(profile.seed, count=FEW, counted_as=0.99),
        ),
    ),
)
