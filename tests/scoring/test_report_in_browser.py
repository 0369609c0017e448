"""The report in a real browser: it opens offline without errors, fits, is accessible, and its controls work."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scoring_boards import give_costs

from algoperf.records.cost import Cost, PhaseCost
from scoring.analysis import analyse
from scoring.board import score_times
from scoring.clocks import Clock, in_clock
from scoring.logs import read_logs
from scoring.report import write_report
from scoring.rules import Rules
from scoring.simulate import SimulatedSubmission, write_logs
from scoring.times import Mode
from scoring.verdict import verdict

DESKTOP, PHONE = (1280, 900), (390, 844)
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
INFO = "authors: Ada <i>Lovelace</i>\nlicense: MIT\nlinks: [https://example.org/paper, 'javascript:alert(1)']\n"
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
    (tmp_path / "logs" / "swift" / "submission_info.yml").write_text(INFO)
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


def test_costs_have_a_section_and_columns_and_unknown_energy_is_a_dash(browser, board, small_rules, tmp_path) -> None:
    blind = Cost(charged=PhaseCost(seconds=7200.0), uncharged=PhaseCost(), energy_missing={"gpu": "no driver <i>"})
    give_costs(tmp_path / "logs", {"swift": blind, "lost": blind}, {})
    tree = read_logs(tmp_path / "logs", small_rules.workloads)
    analysis = analyse(tree, small_rules, small_rules.tuning["self"], replicates=20)
    for size in (DESKTOP, PHONE):
        open_page(browser, write_report(analysis, tmp_path), size, "#costs")
        overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0
        assert browser.get_log("browser") == []
    section = browser.find_element("css selector", "#costs")
    cells = [cell.get_attribute("textContent") for cell in section.find_elements("css selector", "tbody tr td")]
    assert "6" in cells  # three trials of two hours
    assert "–" in cells
    assert "gpu: no driver <i>" in section.get_attribute("textContent")
    heads = browser.find_elements("css selector", "#leaderboard thead th")
    assert [head.get_attribute("textContent") for head in heads][-2:] == ["hours", "kWh"]


def test_times_of_another_clock_have_its_unit(browser, board, small_rules, tmp_path) -> None:
    tuning = small_rules.tuning["self"]
    logs, rules = in_clock(read_logs(tmp_path / "logs", small_rules.workloads), small_rules, tuning, Clock.STEPS)
    report = write_report(analyse(logs, rules, tuning, replicates=100), tmp_path)
    open_page(browser, report, DESKTOP)
    assert browser.execute_script("return document.getElementById('facts').textContent").endswith("times in steps.")
    heads = browser.execute_script("return [...document.querySelectorAll('th.upright')].map((th) => th.textContent)")
    assert heads
    assert all("(steps)" in head for head in heads)


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
    browser.find_element("css selector", "#leaderboard .name a").click()
    best = analysis.leaderboard[0].submission
    assert browser.find_element("css selector", "main h2").text == best
    browser.find_element("partial link text", "All results").click()
    assert browser.execute_script("return document.body.dataset.page") == "front"


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_every_page_is_accessible(browser, board, size, scheme: str) -> None:
    analysis, report = board
    axe = AXE.read_text(encoding="utf-8")
    color_scheme = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", color_scheme)
    for place in ("", "#findings", "#submission=swift", "#workload=speech", "#submission=swift&workload=digits"):
        open_page(browser, report, size, place)
        assert browser.execute_script("return document.documentElement.dataset.theme") == scheme
        if place == "":
            click(browser, analysis.board.ranking()[0])  # a chip that is off must be legible as well
        draw_everything(browser)
        browser.execute_script(axe)
        found = browser.execute_async_script(
            "axe.run().then((r) => arguments[0]([r.passes.map((p) => p.id),"
            " r.violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.html}`))]))"
        )
        assert "color-contrast" in found[0], place
        assert found[1] == [], place
        assert browser.find_elements("css selector", "table:not(:has(caption)), th:not([scope])") == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_reader_chooses_the_colours(browser, board) -> None:
    _, report = board
    open_page(browser, report, DESKTOP)
    for theme in ("dark", "light"):
        choose(browser, "#theme select", theme)
        background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (theme == "light")


def choose(browser, selector: str, value: str) -> None:
    browser.execute_script(
        "const box = document.querySelector(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event('change'));",
        selector,
        value,
    )


def column(browser, section: str, header: str) -> list[str]:
    cells = f"#{section} [role=table] tbody [data-label='{header}']"
    return [cell.get_attribute("textContent") for cell in browser.find_elements("css selector", cells)]


def saved(browser, selector: str) -> tuple[str, str]:
    """Name and content of the file that a button saves."""
    return tuple(
        browser.execute_async_script(
            """
            const done = arguments[1], create = URL.createObjectURL, click = HTMLAnchorElement.prototype.click;
            let blob = null;
            URL.createObjectURL = (b) => { if (b.type === 'text/csv') blob = b; return create.call(URL, b); };
            HTMLAnchorElement.prototype.click = async function () {
              URL.createObjectURL = create;
              HTMLAnchorElement.prototype.click = click;
              done([this.download, blob ? await blob.text() : decodeURIComponent(this.href)]);
            };
            document.querySelector(arguments[0]).click();
            """,
            selector,
        )
    )


def test_tables_are_sorted_filtered_and_saved(browser, board) -> None:
    analysis, report = board
    open_page(browser, report, DESKTOP)
    names = [row.submission for row in analysis.leaderboard]
    assert column(browser, "leaderboard", "submission") == names
    score = browser.find_element("xpath", "//*[@id='leaderboard']//th[.//button[text()='score']]")
    score.find_element("css selector", "button").click()
    assert score.get_attribute("aria-sort") == "ascending"
    assert column(browser, "leaderboard", "submission")[-1] == names[0]
    browser.find_element("css selector", "#leaderboard input[type=search]").send_keys("SW")
    assert column(browser, "leaderboard", "submission") == ["swift"]
    name, content = saved(browser, "#leaderboard [data-save=csv]")
    header, row = (line.split(",") for line in content.strip().split("\r\n"))
    assert name == "leaderboard.csv"
    best = analysis.leaderboard[0]
    assert dict(zip(header, row, strict=True))["submission"] == "swift" == best.submission
    assert float(row[header.index("score")]) == pytest.approx(best.score, rel=1e-6)
    assert browser.get_log("browser") == []


def test_charts_are_saved_and_their_axes_and_trials_chosen(browser, board) -> None:
    analysis, report = board
    open_page(browser, report, DESKTOP)
    draw_everything(browser)
    name, content = saved(browser, "#profile .chart [data-save=svg]")
    assert name == "performance_profiles.svg"
    assert content.startswith("data:image/svg+xml")
    assert all(submission.split("<")[0] in content for submission in analysis.board.submissions)  # the legend
    assert saved(browser, "#profile .chart [data-save=png]")[1].startswith("data:image/png")
    assert saved(browser, "#profile .chart [data-save=csv]")[1].startswith("series,")
    drawn = "return document.querySelector('#curves .plot').data.length"
    everyone = browser.execute_script(drawn)
    choose(browser, "#curves .chart select", "median")
    assert browser.execute_script(drawn) == len(analysis.board.submissions) < everyone
    axes = "const l = document.querySelector('#curves .plot')._fullLayout; return [l.xaxis.type, l.yaxis.range]"
    kind, values = browser.execute_script(axes)
    press(browser, "Near target")
    nearer = browser.execute_script(axes)[1]
    assert kind == "linear"
    assert abs(nearer[1] - nearer[0]) < abs(values[1] - values[0])
    press(browser, "Log x")
    assert browser.execute_script(axes)[0] == "log"
    browser.find_element("css selector", "#curves .plot").send_keys("+")
    closer = browser.execute_script(axes)[1]
    assert abs(closer[1] - closer[0]) == pytest.approx(0.8 * abs(nearer[1] - nearer[0]))
    assert browser.get_log("browser") == []


def press(browser, text: str) -> None:
    button = browser.find_element("xpath", f"//*[@id='curves']//button[text()='{text}']")
    browser.execute_script("arguments[0].click()", button)
    assert button.get_attribute("aria-pressed") == "true"


def test_the_verdict_is_first_and_addresses_hold_names(browser, board) -> None:
    analysis, report = board
    open_page(browser, report, DESKTOP, "#submission=%3Cb%20onload%3Dalert(1)%3Elate")
    assert browser.find_element("css selector", "#verdict").text == verdict(analysis)
    assert browser.find_element("css selector", "main h2").text == "<b onload=alert(1)>late"
    open_page(browser, report, DESKTOP, "#submission=swift")
    info = browser.find_element("css selector", ".info")
    assert "Ada <i>Lovelace</i>" in info.text
    links = [a.get_attribute("href") for a in info.find_elements("css selector", "a")]
    assert links == ["https://example.org/paper"]
    open_page(browser, report, DESKTOP, "#findings")
    shown = [cell.text for cell in browser.find_elements("css selector", "main [data-label=severity]")]
    assert len(shown) == len(analysis.findings)
    open_page(browser, report, DESKTOP, "#near_misses")
    missed = [cell.get_attribute("textContent") for cell in browser.find_elements("css selector", "#near_misses .name")]
    assert set(missed) == {"lost"}


def test_all_charts_are_drawn_on_light_paper_for_print(browser, board) -> None:
    _, report = board
    open_page(browser, report, DESKTOP)
    choose(browser, "#theme select", "dark")
    browser.execute_script(
        """
        addEventListener('beforeprint', () => {
          const plots = [...document.querySelectorAll('.plot')];
          window.printed = [plots.length, plots.filter((p) => p.querySelector('.main-svg')).length,
            document.documentElement.dataset.theme];
        });
        """
    )
    browser.execute_cdp_cmd("Page.printToPDF", {})
    charts, drawn, theme = browser.execute_script("return window.printed")
    assert (charts, drawn, theme) == (4, 4, "light")
    assert browser.execute_script("return document.documentElement.dataset.theme") == "dark"
    choose(browser, "#theme select", "system")
