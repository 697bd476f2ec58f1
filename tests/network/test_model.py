"""The language model: bit-exact arms at a closed gate, causality, living gradients, clear refusals."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from network import FastSlowConfig, FastSlowLM
from network.gate import gate_parameters

pytestmark = pytest.mark.numerical

F64 = torch.float64
SMALL = {"vocab_size": 11, "block_size": 40, "n_layer": 2, "n_embd": 16, "n_head": 2, "period": 4}
COUPLED_ARMS = ("coupled", "blind", "local")
GATES = ("scalar", "channel", "projection")


def build(seed=0, dtype=F64, **changes):
    config = FastSlowConfig(**{**SMALL, **changes})
    return FastSlowLM(config, generator=torch.Generator().manual_seed(seed)).to(dtype)


def random_tokens(batch=3, length=40, seed=0, vocabulary=11):
    return torch.randint(vocabulary, (batch, length), generator=torch.Generator().manual_seed(seed))


def open_gates(model, seed=5):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for gate in gate_parameters(model).values():
            gate.copy_(0.5 + torch.rand(gate.shape, generator=generator, dtype=F64))
    return model


def loss(model, tokens):
    logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("arm", ["frozen", *COUPLED_ARMS])
@pytest.mark.parametrize("gate", GATES)
def test_every_arm_equals_dense_bit_for_bit_at_a_closed_gate(arm, gate, dtype):
    dense = build(arm="dense", dtype=dtype)
    model = build(arm=arm, gate=gate, dtype=dtype)
    assert torch.equal(model(random_tokens()), dense(random_tokens()))


@pytest.mark.thorough
def test_frozen_equals_dense_bit_for_bit_after_500_steps():
    tokens = torch.randint(11, (500, 4, 13), generator=torch.Generator().manual_seed(1))
    trained = []
    for arm in ("dense", "frozen"):
        model = build(arm=arm, dtype=torch.float32, n_embd=8)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, fused=True)
        for batch in tokens:
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()
        trained.append(model)
    dense, frozen = trained
    assert torch.equal(frozen(random_tokens()), dense(random_tokens()))
    assert all(torch.equal(p, frozen.state_dict()[name]) for name, p in dense.state_dict().items())


def test_a_frozen_model_that_is_computed_all_the_same_still_equals_dense():
    dense, timed = build(arm="dense"), build(arm="frozen", compute_frozen=True)
    assert torch.equal(timed(random_tokens()), dense(random_tokens()))
    loss(timed, random_tokens()).backward()
    loss(dense, random_tokens()).backward()
    for name, parameter in dense.named_parameters():
        assert torch.equal(timed.get_parameter(name).grad, parameter.grad)
    assert all(not gate.requires_grad for gate in gate_parameters(timed).values())


def test_a_skipped_slow_path_waits_for_no_gradient():
    frozen = build(arm="frozen")
    assert not any(p.requires_grad for p in frozen.coupling.parameters())
    loss(frozen, random_tokens()).backward()
    assert all((p.grad is not None) == p.requires_grad for p in frozen.parameters())


def test_arms_of_a_seed_share_their_fast_weights_and_nothing_global_is_drawn():
    state = torch.get_rng_state()
    dense = build(arm="dense").state_dict()
    for changes in ({"arm": "local"}, {"period": 2}, {"gate": "projection"}, {"n_slow_layer": 3}, {"arm": "blind"}):
        model = build(**changes).state_dict()
        assert all(torch.equal(model[name], weight) for name, weight in dense.items())
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        one = FastSlowLM(FastSlowConfig(**SMALL, arm="dense")).state_dict()
        torch.manual_seed(3)
        other = FastSlowLM(FastSlowConfig(**SMALL, arm="coupled")).state_dict()
    assert all(torch.equal(other[name], weight) for name, weight in one.items())


@pytest.mark.parametrize("arm", COUPLED_ARMS)
@pytest.mark.parametrize("gate", GATES)
def test_parameters_of_gates_and_no_others_have_gate_in_their_name(arm, gate):
    model = build(arm=arm, gate=gate)
    named = {name for name, _ in model.named_parameters() if "gate" in name}
    assert named == {f"coupling.gate.{name}" for name, _ in model.coupling.gate.named_parameters()} and named
    assert not any("gate" in name for name, _ in build(arm="dense").named_parameters())


@pytest.mark.parametrize("arm", COUPLED_ARMS)
@pytest.mark.parametrize("gate", GATES)
def test_step_one_reaches_every_gate_and_step_two_every_slow_parameter(arm, gate):
    model = build(arm=arm, gate=gate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    gates = gate_parameters(model)
    for step in range(2):
        optimizer.zero_grad()
        loss(model, random_tokens()).backward()
        for name, parameter in model.named_parameters():
            alive = bool((parameter.grad != 0).any())
            slow = name.startswith("coupling.") and name not in gates
            assert alive == (step == 1 or not slow), (step, name)
        optimizer.step()


@given(st.integers(1, 12), st.integers(12, 40), st.sampled_from(COUPLED_ARMS), st.sampled_from(GATES))
@settings(max_examples=30)
def test_tokens_before_the_first_complete_block_receive_exactly_nothing(period, length, arm, gate):
    model = open_gates(build(period=period, arm=arm, gate=gate))
    tokens = random_tokens(length=length)
    with torch.no_grad():
        seen, closed = model(tokens), model(tokens, closed=True)
    assert torch.equal(seen[:, : period - 1], closed[:, : period - 1])
    if arm != "blind" or length >= period:
        assert bool((seen[:, period - 1] != closed[:, period - 1]).any())


def test_the_coupling_is_the_formula():
    model = open_gates(build(period=3))
    captured = {}
    model.coupling.register_forward_hook(lambda module, inputs, output: captured.update(x=inputs[0], u=output))
    with torch.no_grad():
        model(random_tokens(length=11))
        x, u, coupling = captured["x"], captured["u"], model.coupling
        y = torch.stack([x[:, 3 * k : 3 * k + 3].mean(1) for k in range(3)], 1)
        y = coupling.slow(y, model.rotary[:3])
        c = coupling.phi_theta(y / (y.square().mean(-1, keepdim=True) + 2.0**-52).sqrt())
        for t in range(11):
            newest = (t + 1) // 3 - 1
            expected = coupling.gate.alpha * c[:, newest] if newest >= 0 else torch.zeros_like(c[:, 0])
            torch.testing.assert_close(u[:, t], expected, rtol=1e-12, atol=1e-14)


def test_blind_is_coupled_to_its_neighbours_pooled_tokens():
    coupled, blind = open_gates(build()), open_gates(build(arm="blind"))
    tokens = random_tokens(batch=2)
    twins = tokens[:1].expand(2, -1)
    with torch.no_grad():
        # With two equal sequences another one's content is one's own; with different ones it is not. Kernels may sum
        # the two rows of a batch in different orders: three blocks of sums of 64 terms, logits of order one.
        rounding = 1e3 * 2.0**-53
        assert (blind(twins) - coupled(twins)).abs().max() <= rounding
        assert (blind(tokens) - coupled(tokens)).abs().max() > 1e6 * rounding
        swapped = torch.stack([tokens[0], random_tokens(1, seed=9)[0]])
        assert (blind(tokens)[0] - blind(swapped)[0]).abs().max() > 1e6 * rounding
        assert torch.equal(coupled(tokens)[0], coupled(swapped)[0])


@pytest.mark.parametrize(
    "batch, partners",
    [(2, [1, 0]), (3, [2, 0, 1]), (4, [1, 0, 3, 2]), (5, [1, 0, 4, 2, 3]), (7, [1, 0, 3, 2, 6, 4, 5])],
)
def test_blind_reads_exactly_its_partner(batch, partners):
    model, tokens = open_gates(build(arm="blind")), random_tokens(batch)
    seen = []
    with torch.no_grad():
        before = model(tokens)
        for row in range(batch):
            changed = tokens.clone()
            changed[row] = (tokens[row] + 1) % 11
            moved = (model(changed) != before).flatten(1).any(1).nonzero()[:, 0].tolist()
            assert len(moved) == 2 and row in moved
            seen.append(next(reader for reader in moved if reader != row))
    # seen[row] reads row.
    assert [seen.index(reader) for reader in range(batch)] == partners


@pytest.mark.parametrize("parts", [(2, 2, 2, 2), (4, 4), (6, 2), (2, 4, 3), (6, 3), (4, 5)])
def test_blind_reads_the_same_in_even_parts_as_in_the_whole(parts):
    model, tokens = open_gates(build(arm="blind")), random_tokens(sum(parts))
    with torch.no_grad():
        torch.testing.assert_close(
            torch.cat([model(part) for part in tokens.split(parts)]), model(tokens), rtol=1e-12, atol=1e-13
        )


def test_local_has_no_slow_attention():
    local = open_gates(build(arm="local", n_slow_layer=3))
    assert local.coupling.slow is None
    tokens = random_tokens(batch=1)
    captured = []
    local.coupling.register_forward_hook(lambda module, inputs, output: captured.append((inputs[0], output)))
    with torch.no_grad():
        local(tokens)
        x, u = captured[0]
        # A block mean, and so the signal, is that of its own block alone.
        moved = x.clone()
        moved[:, 8:12] += 1.0
        changed = (local.coupling(moved, local.rotary) != u).any(-1)[0].nonzero()[:, 0].tolist()
    assert changed == [11, 12, 13, 14]


def test_a_sequence_shorter_than_the_period_is_read_without_the_slow_path():
    model = open_gates(build(period=8))
    tokens = random_tokens(length=5)
    assert torch.equal(model(tokens), model(tokens, closed=True))


def test_one_sequence_does_not_depend_on_the_rest_of_the_batch():
    model, tokens = open_gates(build()), random_tokens(batch=4)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens[1:2])[0], model(tokens)[1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("gate", GATES)
def test_a_slow_path_that_overflows_shows_although_the_gate_is_closed(gate):
    model = build(gate=gate)
    with torch.no_grad():
        model.coupling.phi_theta.out.bias.fill_(float("inf"))
    assert bool(model(random_tokens()).isnan().any())
    model = build(gate=gate, dtype=torch.float32)
    with torch.no_grad():
        model.coupling.slow.blocks[0].mlp.down.weight.fill_(1e30)
    assert bool(model(random_tokens()).isnan().any())


def test_the_head_is_tied_and_the_state_holds_no_weight_twice():
    model = build()
    state = model.state_dict(keep_vars=True)
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    assert set(dict(model.named_parameters())) <= set(state) and "rotary" not in state


def test_weights_of_another_shape_are_refused_by_name():
    with pytest.raises(RuntimeError, match=r"coupling\.gate\.weight"):
        build(gate="scalar").load_state_dict(build(gate="projection").state_dict())
    with pytest.raises(RuntimeError, match=r"coupling\.slow\.blocks\.1"):
        build(n_slow_layer=2).load_state_dict(build(n_slow_layer=1).state_dict())


def test_gradients_against_finite_differences():
    model = open_gates(build(n_embd=4, n_head=1, period=2, vocab_size=3))
    tokens = random_tokens(batch=2, length=5, vocabulary=3)
    names = [name for name, _ in model.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for _, p in model.named_parameters())

    def logits(*parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (tokens,))

    assert torch.autograd.gradcheck(logits, values, fast_mode=True)


def test_copies_and_moves_keep_the_model():
    model = open_gates(build())
    tokens = random_tokens()
    assert torch.equal(copy.deepcopy(model)(tokens), model(tokens))
    single = copy.deepcopy(model).float()(tokens).double()
    assert bool((single - model(tokens)).norm() < 1e-5 * model(tokens).norm())


@pytest.mark.parametrize(
    "tokens, message",
    [
        (torch.zeros(2, 41, dtype=torch.long), "T = 41 tokens exceed block_size = 40"),
        (torch.zeros(2, 0, dtype=torch.long), r"shape \[B, T\] with B, T >= 1, got \[2, 0\]"),
        (torch.zeros(5, dtype=torch.long), r"got \[5\]"),
        (torch.zeros(2, 4), "tokens must be an int64 or int32 tensor of ids, got torch.float32"),
        ([[1, 2]], "got list"),
        (torch.tensor([[1, 2], [3, 11]]), r"tokens\[1, 1\] = 11 is outside 0 … 10"),
        (torch.tensor([[-1, 2]]), r"tokens\[0, 0\] = -1"),
        (torch.zeros(2, 4, dtype=torch.long, device="meta"), "tokens are on meta and the model on cpu"),
    ],
)
def test_tokens_that_are_refused(tokens, message):
    with pytest.raises(ValueError, match=message):
        build()(tokens)


def test_blind_refuses_a_batch_of_one_and_the_others_do_not():
    with pytest.raises(ValueError, match="a batch of 1 has none: pass B >= 2"):
        build(arm="blind")(random_tokens(batch=1))
    for arm in ("dense", "frozen", "coupled", "local"):
        assert build(arm=arm)(random_tokens(batch=1)).shape == (1, 40, 11)


def test_parts_in_different_precision_are_named():
    model = build(dtype=torch.float32)
    model.coupling.double()
    with pytest.raises(ValueError, match=r"torch.float32 and φ_θ has torch.float64"):
        model(random_tokens())
    with pytest.raises(ValueError, match="config must be a FastSlowConfig, got dict"):
        FastSlowLM({"period": 4})


def test_autocast_keeps_the_model_close():
    model = open_gates(build(dtype=torch.float32))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        low = model(random_tokens()).float()
    torch.testing.assert_close(low, model(random_tokens()), rtol=0.1, atol=0.05)
