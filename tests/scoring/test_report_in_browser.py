"""The report in a real browser: it opens offline without errors, fits, and recomputes when somebody is switched off."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scoring.analysis import analyse
from scoring.board import score_times
from scoring.logs import read_logs
from scoring.report import write_report
from scoring.rules import Rules
from scoring.simulate import SimulatedSubmission, write_logs
from scoring.times import Mode

DESKTOP, PHONE = (1280, 900), (390, 844)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator:
    webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("Chromium and its driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    session.execute_cdp_cmd("Network.enable", {})
    session.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    yield session
    session.quit()


@pytest.fixture
def board(tmp_path: Path, small_rules: Rules):
    """Analysis and report of four submissions, one with a name that would be markup."""
    names = ("swift", "steady_and_with_a_very_long_name_that_goes_on_and_on", "<b onload=alert(1)>late", "lost")
    medians = (30.0, 45.0, 70.0, np.inf)
    field = [
        SimulatedSubmission(name=name, median_s=dict.fromkeys(small_rules.scored_workloads, median))
        for name, median in zip(names, medians, strict=True)
    ]
    tuning = small_rules.tuning["self"]
    write_logs(tmp_path / "logs", field, small_rules, tuning, evaluations=30)
    tree = read_logs(tmp_path / "logs", small_rules.workloads)
    analysis = analyse(tree, small_rules, tuning, replicates=100)
    return analysis, write_report(analysis, tmp_path)


def open_page(browser, report: Path, size: tuple[int, int], place: str = "") -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get("about:blank")
    browser.get(f"{report.as_uri()}{place}")
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(lambda b: b.execute_script("return document.body.dataset.ready") == "yes")


def draw_everything(browser) -> int:
    """Scrolls to every chart and returns how many were drawn."""
    return browser.execute_async_script(
        """
        const done = arguments[0], plots = [...document.querySelectorAll('.plot')];
        const next = (k) => {
          if (k === plots.length) { done(plots.filter((p) => p.querySelector('.main-svg')).length); return; }
          plots[k].scrollIntoView();
          const wait = () => (plots[k].querySelector('.main-svg') ? next(k + 1) : setTimeout(wait, 30));
          wait();
        };
        next(0);
        """
    )


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("place", ["", "#submission=2", "#workload=speech", "#submission=2&workload=digits"])
def test_every_page_opens_without_errors_and_without_overflow(browser, board, size, place: str) -> None:
    _, report = board
    open_page(browser, report, size, place)
    charts = len(browser.find_elements("css selector", ".plot"))
    assert draw_everything(browser) == charts
    assert charts == {"": 4, "#submission=2": 0, "#workload=speech": 1}.get(place, 3)
    overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
    assert browser.get_log("browser") == []
    assert browser.find_elements("css selector", "main b[onload]") == []


def test_switching_a_submission_off_recomputes_the_scores(browser, board) -> None:
    analysis, report = board
    open_page(browser, report, DESKTOP)
    assert shown_scores(browser) == pytest.approx(expected_scores(analysis, range(4)), abs=1e-6)
    first = analysis.board.ranking()[0]
    click(browser, first)
    others = [i for i in range(4) if i != first]
    recomputed = expected_scores(analysis, others)
    assert shown_scores(browser) == pytest.approx(recomputed, abs=1e-6)
    assert max(abs(recomputed[i] - analysis.board.scores[i]) for i in others) > 0.05
    click(browser, first)
    assert shown_scores(browser) == pytest.approx(expected_scores(analysis, range(4)), abs=1e-6)
    assert browser.get_log("browser") == []


def test_compat_scores_are_recomputed_on_the_grid(browser, board, tmp_path: Path) -> None:
    analysis, _ = board
    compat = analyse(analysis.tree, analysis.board.rules, analysis.board.tuning, Mode.ALGOPERF, replicates=20)
    open_page(browser, write_report(compat, tmp_path), DESKTOP)
    assert shown_scores(browser) == pytest.approx(dict(enumerate(compat.board.scores)), abs=1e-6)
    assert max(abs(compat.board.scores - analysis.board.scores)) > 1e-4  # the grid differs from the exact integral


def click(browser, index: int) -> None:
    chip = browser.find_element("css selector", f'#profile .chip[data-index="{index}"]')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", chip)


def shown_scores(browser) -> dict[int, float]:
    chips = browser.find_elements("css selector", "#profile .chip[data-score]")
    return {int(c.get_attribute("data-index")): float(c.get_attribute("data-score")) for c in chips}


def expected_scores(analysis, indices) -> dict[int, float]:
    chosen = list(indices)
    times = analysis.board.times
    scores = score_times(times.workload_s[chosen], times.workloads, analysis.board.rules)
    return {i: float(score) for i, score in zip(chosen, scores, strict=True)}


def test_links_lead_from_the_leaderboard_to_a_submission_and_back(browser, board) -> None:
    analysis, report = board
    open_page(browser, report, PHONE)
    browser.find_element("css selector", "#leaderboard td.name a").click()
    best = analysis.leaderboard[0].submission
    assert browser.find_element("css selector", "main h2").text == best
    browser.find_element("partial link text", "All results").click()
    assert browser.execute_script("return document.body.dataset.page") == "front"
