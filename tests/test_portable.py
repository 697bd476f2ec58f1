"""The command behind `make test-portable`: what it covers, what it says of a combination, when it ends with 1."""

import portable
import pytest
from kernels import kernels

REPORT = """<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5">
<testcase classname="tests.a" name="good"/><testcase classname="tests.a" name="fine"/>
<testcase classname="tests.a" name="absent"><skipped/></testcase>
<testcase classname="tests.b" name="bad"><failure message="1 != 2"/></testcase>
<testcase classname="tests.b" name="worse"><error message="fixture"/></testcase>
</testsuite></testsuites>"""


def test_the_combinations_cover_every_kind_of_kernel():
    given = list(portable.COMBINATIONS.values())
    assert len(given) >= 6 and len({tuple(sorted(one.items())) for one in given}) == len(given)
    values = {name: {one[name] for one in given if name in one} for one in given for name in one}
    assert values["ATEN_CPU_CAPABILITY"] == {"default", "avx2"}
    assert "generic" in values["NUMBA_CPU_NAME"] and "COMPATIBLE" in values["MKL_CBWR"]
    assert len(values["MKL_CBWR"]) >= 3 and len(values["OPENBLAS_CORETYPE"]) >= 3
    assert values["OMP_NUM_THREADS"] == {"1", "2"}
    assert {variable for one in given for variable in one if "THREADS" not in variable} < set(portable.LIBRARY)


def test_a_combination_has_its_own_variables_only_and_a_cache_for_its_processor(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AVX")
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+avx")
    plain, host = portable.environment(portable.COMBINATIONS["plain"]), portable.environment(portable.ONE)
    assert plain["MKL_CBWR"] == "COMPATIBLE" and plain["TEST_THREADS"] == "1"
    assert "MKL_CBWR" not in host and "NUMBA_CPU_FEATURES" not in host
    assert plain["NUMBA_CACHE_DIR"] != host["NUMBA_CACHE_DIR"]


def test_every_library_says_what_it_runs():
    said = kernels()
    assert set(said) == set(portable.LIBRARY.values())
    assert said["torch"] in {"DEFAULT", "AVX2", "AVX512"} or said["torch"].isupper()
    assert all(said.values()) and "unknown" not in said["mkl"]


@pytest.mark.parametrize(
    "code, said, changed, without, state",
    [
        (0, "DEFAULT", ["torch"], [], 0),
        (0, "AVX512", [], ["torch"], 0),
        (1, "DEFAULT", ["torch"], [], 1),
    ],
)
def test_what_is_said_of_a_combination(code, said, changed, without, state, monkeypatch, tmp_path, capsys):
    import json
    import subprocess

    def answer(command, **_):
        for option in command:
            if option.startswith("--junitxml="):
                from pathlib import Path

                Path(option.partition("=")[2]).write_text(REPORT)
        return subprocess.CompletedProcess(command, code, "the tests' own words")

    monkeypatch.setattr(portable, "COMBINATIONS", {"one": {"ATEN_CPU_CAPABILITY": "default"} | portable.ONE})
    monkeypatch.setattr(
        portable, "kernels", lambda given: {"torch": said if "ATEN_CPU_CAPABILITY" in given else "AVX512"}
    )
    monkeypatch.setattr(portable.subprocess, "run", answer)
    monkeypatch.setattr(portable, "write", lambda file, host, results: file.write_text(json.dumps(results)))
    assert portable.main(["one", "--out", str(tmp_path / "out.json")]) == state
    (result,) = json.loads((tmp_path / "out.json").read_text())
    assert (result["passed"], result["failed"], result["skipped"]) == (2, 2, 1)
    assert result["failures"] == ["tests.b::bad", "tests.b::worse"]
    assert (result["changed"], result["no effect"]) == (changed, without)
    shown = capsys.readouterr().out
    assert ("NOT GREEN" in shown) == bool(code) and ("no effect: torch" in shown) == bool(without)


def test_the_notebooks_run_without_vector_instructions_and_with_fused_ones(monkeypatch):
    asked = {}

    def answer(command, **_):
        asked[len(asked)] = command[command.index("-m", command.index("pytest")) + 1]
        return portable.subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(portable, "kernels", lambda given: dict.fromkeys(portable.LIBRARY.values(), ""))
    monkeypatch.setattr(portable.subprocess, "run", answer)
    asked_of = {name: portable.run(name, portable.kernels({}), 2)["tests"] for name in portable.COMBINATIONS}
    assert list(asked.values()) == list(asked_of.values())
    whole = {name for name, tests in asked_of.items() if "thorough" not in tests}
    assert whole == {"plain", "zen"} and portable.COMBINATIONS["zen"]["ATEN_CPU_CAPABILITY"] == "avx2"


def test_a_name_that_there_is_not():
    with pytest.raises(SystemExit) as info:
        portable.main(["haswell"])
    assert info.value.code == 2


def test_the_file_keeps_what_other_runs_found(tmp_path):
    import json

    file = tmp_path / "portable.json"
    portable.write(file, {"torch": "AVX512"}, [{"name": "zen", "exit": 0}])
    portable.write(file, {"torch": "AVX2"}, [{"name": "plain", "exit": 1}])
    portable.write(file, {"torch": "AVX512"}, [{"name": "zen", "exit": 1}])
    found = json.loads(file.read_text())["combinations"]
    assert [(one["name"], one["exit"], one["host"]["torch"]) for one in found] == [
        ("plain", 1, "AVX2"),
        ("zen", 1, "AVX512"),
    ]
    assert all(one["commit"] and one["processor"] for one in found)


def test_the_committed_run_is_green_on_every_emulated_processor():
    import json

    file = portable.ROOT / "benchmarks" / "results" / "portable.json"
    found = {one["name"]: one for one in json.loads(file.read_text())["combinations"]}
    assert list(found) == list(portable.COMBINATIONS)
    for one in found.values():
        assert portable.green(one) and one["failed"] == 0 and one["passed"] > 1000
        named = {portable.LIBRARY[v] for v in one["environment"] if v in portable.LIBRARY and "THREADS" not in v}
        assert named <= {*one["changed"], *one["no effect"]}
