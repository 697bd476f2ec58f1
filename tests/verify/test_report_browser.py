"""The report in Chromium, where there is one: no request, a silent console, nothing cut at 400 and at 1400 pixels.

The browser is driven through its debugging pipe, JSON messages that end in a zero byte, so that no port is opened.
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest

from verify.claim.discovery import FoundClaim, discover
from verify.claim.result import ClaimResult, Report
from verify.claims._training import judge_neutrality, planted_cells
from verify.report.command import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the page is not opened")

CONNECT = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")
ROWS = [{"epsilon": 0.5**k, "residual": 0.1**k, "floor_limited": k == 4} for k in range(5)]
DETAILS = {
    "slow_manifold_orders": {
        "systems": [
            {
                "system": f"{name}, k = {k}", "predicted": k + 1.0, "measured": k + 1.001, "tolerance": 0.05,
                "interval": [k + 0.99, k + 1.02], "verdict": "HOLDS", "rows": ROWS, "reason": "a long reason " * 8,
            }
            for name in ("driven_cycle", "random_exponential", "sodium_channel")
            for k in range(4)
        ]
    },
    "token_clock": {"ratios": [{"of": "P (x̄ − p_st) at large P", "ratio": 0.5}, {"of": "exact", "ratio": 0.0}]},
    "full_attention_leaks": {"models": [{"period": p, "share": 0.5 / p} for p in (1, 2, 8)]},
    "neutral_at_500k": judge_neutrality(planted_cells(dense=2.1, coupled=2.09, local=2.1)).details,
}  # fmt: skip
WORDS = {"exact": "HOLDS", "structural": "INCONCLUSIVE", "empirical": "INCONSISTENT", "gap": "MEASURED"}  # the longest
# What is drawn must stay in its drawing, and the words of the mapping in their boxes; of what is not displayed nothing.
OUTSIDE = """
[...document.querySelectorAll('svg text')].filter(text => {
  const box = text.getBoundingClientRect(), svg = text.closest('svg').getBoundingClientRect();
  return box.width && !(box.left >= svg.left - 2 && box.right <= svg.right + 2
                        && box.top >= svg.top - 2 && box.bottom <= svg.bottom + 2);
}).concat([...document.querySelectorAll('.mapping a text')].filter(text => {
  const box = text.getBoundingClientRect(), rect = text.closest('a').querySelector('.box').getBoundingClientRect();
  return box.width && !(box.left >= rect.left && box.right <= rect.right
                        && box.top >= rect.top - 1 && box.bottom <= rect.bottom + 1);
})).concat([...document.querySelectorAll('.mapping > svg')].flatMap(svg => {
  const nodes = [...svg.querySelectorAll('.node')].map(node => node.getBoundingClientRect());
  return [...svg.children].filter(one => one.tagName == 'text').slice(3).filter(text => {
    const box = text.getBoundingClientRect();
    return box.width && !nodes.some(node => box.left >= node.left && box.right <= node.right
                                    && box.top >= node.top - 1 && box.bottom <= node.bottom + 1);
  });
})).map(text => text.textContent)
"""
OVERLAPPING = """
[...document.querySelectorAll('figure svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  return texts.flatMap(([one, a], k) => texts.slice(k + 1).filter(([, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3
  ).map(([other]) => one + ' / ' + other));
})
"""


class Browser:
    def __init__(self, profile):
        theirs, self.down = os.pipe()
        self.up, answers = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONNECT, str(theirs), str(answers), CHROMIUM, *OPTIONS, "--remote-debugging-pipe",
             f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        os.close(answers)
        self.number, self.rest, self.events, self.session = 0, b"", [], {}
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters, **self.session}
        os.write(self.down, json.dumps(message).encode() + b"\0")
        while (answer := self.next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def next(self):
        deadline = time.monotonic() + 120
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.up], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            found = os.read(self.up, 1 << 16)
            assert found, "Chromium has ended"
            self.rest += found
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)

    def open(self, url, width, scheme):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events = []
        self.ask("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self.next())

    def of(self, *methods):
        return [event for event in self.events if event["method"] in methods]

    def value(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def close(self):
        self.process.terminate()
        self.process.wait(60)
        os.close(self.down)
        os.close(self.up)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    claims = [found for found in discover() if isinstance(found, FoundClaim)]
    results = [
        ClaimResult(
            id=found.id, tag=found.claim.tag, statement=found.claim.statement, source=found.claim.source,
            verdict=WORDS[found.claim.tag], quantity="error", measured=-0.123, bound=8.9e-16, interval=(-1.5, -0.9),
            mutation=found.claim.mutation, mutant_refuted=False, mutant_reason="HOLDS", seconds=191.0,
            reason="1000 random generators", details=DETAILS.get(found.id, {}), file=found.file.name,
        )
        for found in claims
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("report")
    page, _ = write_report(Report(tuple(results), {"processor": "an awfully long name " * 9}), folder, claims)
    return page.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    assert hasattr(fcntl, "F_DUPFD")
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width, shown", [(400, "narrow"), (1400, "wide")])
def test_the_page_opens_from_disk_alone_and_fits(browser, url, width, shown, scheme):
    browser.open(url, width, scheme)
    browser.value("document.querySelectorAll('details').forEach(one => { one.open = true })")
    asked = [event["params"]["request"]["url"] for event in browser.of("Network.requestWillBeSent")]
    assert [one for one in asked if not one.startswith("data:")] == [url]
    assert browser.of("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    assert browser.value("document.documentElement.scrollWidth") == width
    visible = "[...document.querySelectorAll('.mapping > svg')].filter(one => one.getBoundingClientRect().width)"
    assert browser.value(f"{visible}.map(one => one.classList[0])") == [shown]
    assert browser.value(OUTSIDE) == []
    assert browser.value(OVERLAPPING) == []
    smallest = "Math.min(...[...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect().height)"
    assert browser.value(f"{smallest}.filter(height => height))") >= 10
    back = browser.value("getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_the_checks_would_see_what_they_look_for(browser, url):
    browser.open(url, 400, "light")
    browser.value("document.querySelector('.narrow a text').setAttribute('x', 300)")
    browser.value("document.querySelectorAll('figure svg text')[1].setAttribute('y', 13)")
    browser.value("document.querySelectorAll('figure svg text')[1].setAttribute('x', 0)")
    assert len(browser.value(OUTSIDE)) == 1 and len(browser.value(OVERLAPPING)) >= 1
    browser.value("fetch('https://example.invalid/').catch(() => 0)")
    refused = [event["params"]["entry"]["text"] for event in browser.of("Log.entryAdded")]
    assert refused and all("Content Security Policy" in text for text in refused)
