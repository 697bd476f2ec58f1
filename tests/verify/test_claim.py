"""Claims: tags limit verdicts by type, files are found and broken ones stand alone."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from verify.claim import (
    TAGS,
    Empirical,
    EmpiricalClaim,
    Exact,
    ExactClaim,
    Gap,
    GapClaim,
    HeuristicClaim,
    Profile,
    Structural,
    StructuralClaim,
)
from verify.claim.discovery import BUILT_IN, BrokenClaim, FoundClaim, discover, load
from verify.claim.result import VOCABULARY
from verify.statistics.verdict import EmpiricalVerdict, ExactVerdict, GapVerdict, Verdict

WORDS = {"quantity": "distance", "measured": 1.0}
FIELDS = {"id": "one", "statement": "it is so", "source": "a theorem", "mutation": "it is not so"}
CLASSES = (ExactClaim, StructuralClaim, HeuristicClaim, EmpiricalClaim, GapClaim)
OUTCOMES = {
    Exact: lambda: Exact(**WORDS, bound=2.0),
    Structural: lambda: Structural(**WORDS, interval=(0.0, 2.0), verdict=Verdict.HOLDS),
    Empirical: lambda: Empirical(**WORDS, verdict=EmpiricalVerdict.CONSISTENT, effect_size=0.1),
    Gap: lambda: Gap(**WORDS, bound=0.0),
}


@given(measured=st.floats(allow_nan=True), bound=st.floats(0, 1e300))
def test_an_exact_outcome_holds_if_and_only_if_measured_is_within_its_bound(measured, bound):
    found = Exact(quantity="error", measured=measured, bound=bound)
    assert (found.verdict is ExactVerdict.HOLDS) == (measured <= bound)
    assert found.refuted == (not measured <= bound)


def test_nobody_chooses_the_word_of_an_exact_or_gap_outcome():
    with pytest.raises(TypeError, match="verdict"):
        Exact(**WORDS, bound=0.0, verdict=ExactVerdict.HOLDS)
    with pytest.raises(TypeError, match="verdict"):
        Gap(**WORDS, bound=0.0, verdict=GapVerdict.MEASURED)
    with pytest.raises(TypeError, match="needs both measured and bound"):
        Exact(quantity="error", measured=None, bound=1.0)


@pytest.mark.parametrize("word", [*ExactVerdict, *Verdict, *GapVerdict, "HOLDS", "CONSISTENT", None])
def test_an_empirical_outcome_has_no_word_of_another_vocabulary(word):
    with pytest.raises((TypeError, TypeCheckError), match="EmpiricalVerdict"):
        Empirical(**WORDS, verdict=word, effect_size=1.0)


@pytest.mark.parametrize("word", [*ExactVerdict, *EmpiricalVerdict, "HOLDS"])
def test_a_structural_outcome_has_no_word_of_another_vocabulary(word):
    with pytest.raises((TypeError, TypeCheckError), match="Verdict"):
        Structural(**WORDS, interval=(0.0, 1.0), verdict=word)


def test_words_need_their_evidence():
    with pytest.raises(TypeError, match="HOLDS only with an interval"):
        Structural(**WORDS, verdict=Verdict.HOLDS)
    with pytest.raises(TypeError, match="needs a reason"):
        Structural(**WORDS, verdict=Verdict.INCONCLUSIVE)
    with pytest.raises(TypeError, match="needs a reason"):
        Empirical(**WORDS, verdict=EmpiricalVerdict.INCONCLUSIVE)
    with pytest.raises(TypeError, match="effect size"):
        Empirical(**WORDS, verdict=EmpiricalVerdict.CONSISTENT)
    with pytest.raises(TypeError, match="finite size"):
        Gap(quantity="leak", measured=float("inf"), bound=0.0)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_check_may_return_its_tags_outcome_and_no_other(kind, outcome):
    claim = kind(**FIELDS, check=lambda _: OUTCOMES[outcome](), mutant=lambda _: OUTCOMES[outcome]())
    if outcome is kind.outcome:
        assert claim.run("check", Profile()).verdict in list(VOCABULARY[kind.tag])
    else:
        with pytest.raises(TypeError, match=f"claim one is {kind.tag}: its check must return {kind.outcome.__name__}"):
            claim.run("check", Profile())


def test_no_heuristic_or_empirical_word_is_holds():
    assert tuple(kind.tag for kind in CLASSES) == TAGS
    for tag in ("heuristic", "empirical", "gap"):
        assert not {"HOLDS", "VIOLATED"} & set(VOCABULARY[tag])
    assert "INCONCLUSIVE" not in set(VOCABULARY["exact"])


@pytest.mark.parametrize("kind", [HeuristicClaim, EmpiricalClaim])
@pytest.mark.parametrize("word", [Verdict.HOLDS, ExactVerdict.HOLDS, "HOLDS"])
def test_a_word_forced_into_an_empirical_outcome_is_refused(kind, word):
    def forged(_):
        found = OUTCOMES[Empirical]()
        object.__setattr__(found, "verdict", word)
        return found

    class Mine(Empirical):
        pass

    claim = kind(
        **FIELDS, check=forged, mutant=lambda _: Mine(**WORDS, verdict=EmpiricalVerdict.CONSISTENT, effect_size=1.0)
    )
    with pytest.raises(TypeError, match=f"claim one is {kind.tag}: its check cannot end in .*HOLDS"):
        claim.run("check", Profile())
    with pytest.raises(TypeError, match="must return Empirical, not Mine"):
        claim.run("mutant", Profile())


def test_a_gap_is_refuted_where_none_is_found():
    assert not Gap(quantity="leak", measured=0.1, bound=0.01).refuted
    assert Gap(quantity="leak", measured=0.0, bound=0.0).refuted


@pytest.mark.parametrize("field", FIELDS)
def test_a_claim_states_itself_in_full(field):
    with pytest.raises(ValueError, match=f"{field} must be a non-empty string"):
        ExactClaim(**FIELDS | {field: " "}, check=lambda _: OUTCOMES[Exact](), mutant=lambda _: OUTCOMES[Exact]())


@pytest.mark.parametrize("seeds", [(), (0, 0), (-1,), (0.5,), (True,)])
def test_profiles_are_checked(seeds):
    with pytest.raises(ValueError, match="seeds must be different integers >= 0"):
        Profile("quick", seeds)
    with pytest.raises(ValueError, match="unknown profile 'fast'"):
        Profile("fast")


DROPPED = """
from verify.claim import Exact, ExactClaim

def check(profile):
    return Exact(quantity="two and two", measured=4.0 - (2 + 2), bound=0.0)

def mutant(profile):
    return Exact(quantity="two and two", measured=5.0 - (2 + 2), bound=0.0)

CLAIM = ExactClaim(id="dropped", statement="2 + 2 = 4", source="arithmetic", check=check, mutant=mutant, mutation="5")
"""


def test_a_file_dropped_into_a_folder_is_a_claim(tmp_path):
    (tmp_path / "dropped.py").write_text(DROPPED)
    (tmp_path / "_shared.py").write_text("raise RuntimeError('not a claim')")
    found = {one.id: one for one in discover([tmp_path])}
    assert isinstance(found["dropped"], FoundClaim) and "_shared" not in found
    assert found.keys() > {"zero_gate_is_dense", "learned_manifold_approaches"}


@pytest.mark.parametrize(
    "source, reason",
    [
        ("1/0", "importing broken.py raised ZeroDivisionError: division by zero"),
        ("def", "raised SyntaxError"),
        ("import no_such_module", "raised ModuleNotFoundError"),
        ("x = 1", "broken.py defines no CLAIM"),
        ("CLAIM = 3", "broken.py defines no CLAIM"),
        (DROPPED, "broken.py defines the claim 'dropped'; the id is the file's name"),
    ],
)
def test_a_broken_file_is_broken_alone(tmp_path, source, reason):
    (tmp_path / "broken.py").write_text(source)
    (tmp_path / "dropped.py").write_text(DROPPED)
    found = {one.id: one for one in discover([tmp_path])}
    assert isinstance(found["broken"], BrokenClaim) and reason in found["broken"].reason
    assert isinstance(found["dropped"], FoundClaim)


def test_ids_are_unique_and_folders_exist(tmp_path):
    (tmp_path / "token_clock.py").write_text(DROPPED)
    with pytest.raises(ValueError, match="claim 'token_clock' is defined twice"):
        discover([tmp_path])
    with pytest.raises(ValueError, match="no such folder of claims"):
        discover([tmp_path / "nowhere"])


def test_every_built_in_claim_loads_and_is_read_without_torch():
    assert not [one for one in discover() if isinstance(one, BrokenClaim)]
    assert isinstance(load(BUILT_IN / "token_clock.py"), FoundClaim)
    code = (
        "import sys; from verify.claim.discovery import discover; discover(); "
        "print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
