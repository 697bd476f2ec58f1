"""The report of a run of `python -m verify`, as a page and as Markdown. `python -m verify.report`.

    python -m verify.report                            out/verify/claims.json -> report.html and report.md beside it
    python -m verify.report runs/claims.json --out DIR
    python -m verify.report --docs docs/claims.md      what the claims are, without any measurement
    python -m verify.report --table                    the claims as a Markdown table, on stdout

What `python -m verify.generator_defect --model NAME --text FILE --out DIR` left in the folder of the run, or in one of
its own folders, is shown below the claims, or what --pretrained names.

`python -m verify` writes the report by itself; this command makes it again from its claims.json, which suffices: after
an interrupted run, for instance, or for a file from another machine. It needs neither torch nor matplotlib.

Exit codes: 0 written; 2 usage or input.
"""
