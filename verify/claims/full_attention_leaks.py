"""Literal full attention over pooled tokens shows a language model its own future."""

from __future__ import annotations

from verify.claim import Gap, GapClaim, Profile

COUNT = 20
SMALLEST_BLOCKS = 3  # with fewer, no block has a later one to look at


def check(profile: Profile) -> Gap:
    """The change of an earlier logit by a later token, over the reach of the slow path; the median."""
    return _leak(profile.seed, "full_leaking")


def mutant(profile: Profile) -> Gap:
    """Block-causal attention in its place, which has nothing to find."""
    return _leak(profile.seed, "block_causal")


def _leak(seed: int, slow_attention: str) -> Gap:
    import statistics

    from network.leak_check import leak_check
    from verify.claims._networks import model_of, random_configs

    rows = []
    for number, config in enumerate(random_configs(seed, arms=("coupled",), count=COUNT, n_embd=16, n_head=2)):
        length = SMALLEST_BLOCKS * config.period + 1
        model = model_of(config, seed + number, slow_attention=slow_attention, block_size=length)
        report = leak_check(model, seed=seed + number, length=length)
        reach = report.reach or 0.0
        share = report.largest / reach if reach else 0.0
        row = {"period": config.period, "largest": report.largest, "reach": reach, "share": share}
        rows.append(row | {"position": report.changed, "by": report.by})
    shares = [row["share"] for row in rows]
    leaking = sum(share > 0 for share in shares)
    return Gap(
        quantity="change of a logit by a later token, over what a token changes through the slow path at all, median",
        measured=statistics.median(shares),
        bound=0.0,
        interval=(min(shares), max(shares)),
        reason=f"{leaking} of {COUNT} random models leak; block-causal attention, in their place, must give exactly 0",
        details={"models": rows},
    )


CLAIM = GapClaim(
    id="full_attention_leaks",
    statement="The slow path as full attention over all T/P pooled tokens leaks the future in a language model; "
    "block-causal attention does not.",
    source="the paper's slow path, full attention over pooled tokens, read literally",
    check=check,
    mutant=mutant,
    mutation="block-causal attention in the place of full attention",
)
