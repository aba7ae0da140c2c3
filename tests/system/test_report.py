"""scripts/report.py as a user starts it, and its page in a browser."""

import asyncio
import json
import shutil
import subprocess
import sys

import aiohttp
import pytest

from configs import bert
from ssl_jax import files
from ssl_jax.errors import UserError
from ssl_jax.reports import measure, page, study, text
from ssl_jax.sweeps.tables import Claim, Column
from tests.conftest import run_here
from tests.unit.test_reports import realistic, results_of, write_sweep

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def command(root, *arguments):
    return [sys.executable, str(root / "scripts/report.py"), *map(str, arguments)]


def run(root, *arguments):
    return subprocess.run(command(root, *arguments), capture_output=True, text=True, check=False)


# ---- A sweep


def test_a_sweep_is_reported_to_the_terminal_and_as_files(root, tmp_path):
    done = run(root, realistic(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "ALBERT, Table 5: sentence order"
    assert lines[1] == "26 of 30 runs done, 1 excluded, 1 failed, 1 dependency failed, 1 preempted; so far:"
    assert "HOLDS: Sentence order is learned only when it is trained" in lines
    assert (
        f"{tmp_path}/report/report.html shows it with curves; report.md and the .csv files are beside it" == lines[-1]
    )
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.html", "report.md", "table.csv", "claims.csv", "seeds.csv",
    }  # fmt: skip
    assert "* **holds**: Sentence order is learned" in (tmp_path / "report/report.md").read_text()


def test_watching_goes_on_until_all_runs_are_done(root, tmp_path):
    results = results_of({"A": (0.5, "queued")})
    write_sweep(tmp_path, results, (Column("acc", "run", "accuracy"),), stages=("run",))
    with subprocess.Popen(command(root, tmp_path, "--watch=0.2"), stdout=subprocess.PIPE, text=True) as watching:
        for line in watching.stdout:
            if line.startswith("1 of 2 runs done, 1 queued; so far"):
                break
        last = tmp_path / "runs/run_A_seed=1"
        files.write_json(last / "result.json", {"step": 1, "accuracy": 0.75})
        files.write_json(last / "status.json", {"state": "done"})
        rest = watching.stdout.read()
        assert watching.wait() == 0
    assert "2 of 2 runs done\n" in rest and "0.6250" in rest


def test_bad_input_is_one_line(root, tmp_path):
    realistic(tmp_path / "sweep")
    for arguments, told in (
        ((), "what is to be done? name a sweep or runs"),
        ((tmp_path / "none",), "holds no run"),
        ((tmp_path / "sweep", tmp_path / "sweep"), "is a sweep, which has a report of its own"),
        ((tmp_path / "sweep", "--watch=-1"), "a number of seconds above 0 is needed"),
        ((tmp_path / "sweep", "--watch=soon"), "a number of seconds above 0 is needed"),
    ):
        done = run_here(command(root, *arguments))
        assert done.returncode and told in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_without_altair_everything_but_the_page_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    measured = measure.measure(study.read([realistic(tmp_path)]))
    text.write(measured, tmp_path / "report")
    with pytest.raises(
        UserError, match=r"report.html needs altair: pip install 'ssl_jax\[report\]'; report.md and the"
    ):
        page.write(measured, tmp_path / "report")
    assert (tmp_path / "report/report.md").exists() and not (tmp_path / "report/report.html").exists()


# ---- Any runs


def write_run(folder, result=None, lines=(), **changes):
    config = bert.get_config("tiny,smoke")
    config.update_from_flattened_dict(changes)
    folder.mkdir(parents=True)
    files.write_json(folder / "config.json", {"config": json.loads(config.to_json()), "commit": "c" * 40})
    if result is not None:
        files.write_json(folder / "result.json", {"step": config.steps, **result})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_any_runs_are_compared_by_what_their_configs_differ_in(tmp_path):
    """Seeds are replicates, those of one run among them; where a run was trained, and how often it was saved, is no difference."""
    for seed, loss in enumerate((3.0, 4.0)):
        write_run(tmp_path / f"a{seed}", {"loss": loss}, seed=seed, **{"run.checkpoint_every": 3 + seed})
    write_run(tmp_path / "b", seeds=2, **{"corruption.rate": 0.3})
    for seed, loss in ((0, 2.5), (1, 2.0)):
        write_run(
            tmp_path / f"b/seed-{seed}", {"loss": loss, "mlm_accuracy": 0.25}, seed=seed, **{"corruption.rate": 0.3}
        )
    heldout = [{"step": 1, "split": "heldout", "loss": 9.0}, {"step": 2, "split": "heldout", "loss": 8.5}]
    write_run(tmp_path / "c", lines=[*heldout, {"step": 3, "split": "train", "loss": 8.0}], **{"corruption.rate": 0.4})
    found = study.read([tmp_path / name for name in ("a0", "a1", "b", "c")])
    measured = measure.measure(found)
    assert [row.name for row in found.rows] == ["corruption.rate=0.15", "corruption.rate=0.3", "corruption.rate=0.4"]
    assert [column.name for column in found.columns] == ["loss", "mlm_accuracy"]
    loss, accuracy = ([measured.cells[row.name, name] for row in found.rows] for name in ("loss", "mlm_accuracy"))
    assert [(cell.mean, cell.n) for cell in loss] == [(3.5, 2), (2.25, 2), (None, 0)]
    assert loss[0].interval == pytest.approx((3.5 - 6.353, 3.5 + 6.353), abs=1e-3)  # 12.706 * sd / sqrt(2)
    assert [cell.n for cell in accuracy] == [0, 2, 0]
    lines = list(text.terminal(measured))
    steps = bert.get_config("tiny,smoke").steps
    assert f"{tmp_path}/c: unfinished: last held-out line, step 2 of {steps:,}: loss 8.5" in lines
    assert loss[0].parameters == loss[1].parameters > 10_000 and loss[0].flops > 1e6


def test_runs_of_one_config_and_seed_are_told_apart_by_their_folders(tmp_path):
    for name, loss in (("before", 3.0), ("after", 2.0)):
        write_run(tmp_path / name, {"loss": loss})
    found = study.read([tmp_path / "before", tmp_path / "after"])
    assert [row.name for row in found.rows] == [str(tmp_path / "before"), str(tmp_path / "after")]
    with pytest.raises(UserError, match="is named twice"):
        study.read([tmp_path / "before", f"{tmp_path}/after/../before"])


# ---- The page


class Browser:
    """A page in headless Chromium, by its DevTools protocol: what it asks for, what it complains of, what is in it."""

    def __init__(self, socket):
        self.socket, self.number, self.requests, self.complaints = socket, 0, [], []

    async def call(self, method, **parameters):
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": parameters})
        while True:
            message = await self.socket.receive_json(timeout=60)
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.note(message)

    def note(self, message):
        method, values = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(values)[:500])

    async def evaluate(self, expression):
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def open(self, path, width=1280, dark=False):
        for domain in ("Network", "Runtime", "Log", "Page"):
            await self.call(f"{domain}.enable")
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        await self.call("Page.navigate", url=path.as_uri())
        count = path.read_text().count('<div class="chart" id=')
        for _ in range(300):
            if await self.evaluate("document.documentElement?.dataset.drawn ?? 0") == str(count):
                return count
            await asyncio.sleep(0.1)
        raise AssertionError(f"not all {count} charts are drawn: {self.complaints}")


def browse(folder, visit):
    """Returns `visit(browser)`, a coroutine, of a Chromium of its own."""
    arguments = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
        "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip

    async def talk(process):
        ready = folder / "DevToolsActivePort"
        for _ in range(300):
            if ready.exists() and ready.read_text().count("\n"):
                break
            assert process.poll() is None, "Chromium has ended"
            await asyncio.sleep(0.1)
        port = ready.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                target = next(one for one in await response.json() if one["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                return await visit(Browser(socket))

    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return asyncio.run(talk(process))
    finally:
        process.terminate()
        process.wait()


def written(folder):
    measured = measure.measure(study.read([folder]))
    page.write(measured, folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return written(realistic(tmp_path_factory.mktemp("sweep")))


in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@in_browser
def test_the_page_draws_every_chart_and_asks_for_nothing(html, tmp_path):
    async def visit(browser):
        count = await browser.open(html)
        marks = await browser.evaluate(
            "[...document.querySelectorAll('.chart')].map(one => one.querySelectorAll('.mark-symbol path, .mark-line path').length)"
        )
        named = await browser.evaluate(
            "[...document.querySelectorAll('.chart')].filter(one => one.getAttribute('aria-label').length > 20).length"
        )
        await browser.evaluate("document.querySelector('[data-row=SOP]').click()")
        faded = await browser.evaluate(
            '[...document.querySelectorAll(\'.chart path[opacity="0.06"], .chart path[style*="opacity: 0.06"]\')].length'
        )
        return count, marks, named, faded, browser

    count, marks, named, faded, browser = browse(tmp_path, visit)
    # Four columns: two charts by row and two by cost; losses of two stages, and the accuracy of one.
    assert count == len(marks) == named == 4 * 4 + 2 * 2 + 1
    assert min(marks) > 0 and marks[0] >= 14 + 3 + 3  # seeds, means and published values of the first
    assert faded > 0
    assert browser.requests == [html.as_uri()] and browser.complaints == []
    assert html.stat().st_size < 1.5e6


@in_browser
def test_the_page_fits_a_phone_and_the_dark(html, tmp_path):
    look = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.chart svg text')).fill]"

    async def visit(browser):
        await browser.open(html, width=390, dark=True)
        width = await browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        dark = await browser.evaluate(look)
        charts = await browser.evaluate(
            "Math.max(...[...document.querySelectorAll('.chart svg')].map(one => one.getBoundingClientRect().right))"
        )
        await browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        return width, dark, await browser.evaluate(look), charts

    width, dark, light, right = browse(tmp_path, visit)
    assert width == 0 and right <= 390
    luminance = lambda colour: sum(map(int, colour[4:-1].split(",")))
    assert luminance(dark[0]) < 150 < 400 < luminance(dark[1])  # background and text
    assert luminance(light[1]) < 400 < 700 < luminance(light[0])


@in_browser
def test_names_and_reasons_are_text_whatever_they_hold(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    results = results_of({evil: (0.5, 0.6), "B": (0.7, "failed")})
    status = {("B", "run", 1): {"reason": f"<b>{evil}"}}
    claims = [Claim("B", evil, f"<i>{evil}", 1, text=evil)]
    column = Column(f"<i>{evil}", "run", "accuracy")
    write_sweep(tmp_path / "W", results, (column,), claims, ("run",), "B", status=status, title=evil)
    html = written(tmp_path / "W")

    async def visit(browser):
        await browser.open(html)
        return await browser.evaluate(
            "[document.querySelector('h1').textContent, document.querySelectorAll('img, i, b').length]"
        ), browser

    (title, count), browser = browse(tmp_path / "profile", visit)
    assert (title, count) == (evil, 0) and browser.complaints == []


@in_browser
def test_a_long_table_and_long_runs_stay_small_and_are_drawn(tmp_path):
    rows = {
        f"row {n:02}, a name of its own that is long": (0.5 + n / 100, 0.5 + n / 90, 0.4 + n / 80) for n in range(40)
    }
    lines = [(step, {"loss": 1 / step, "accuracy": 1 - 1 / step}) for step in range(1, 2001)]
    curve = {(row, "run", seed): {"train": lines, "heldout": lines} for row in rows for seed in range(3)}
    columns = tuple(Column(name, "run", "accuracy") for name in ("one", "two"))
    write_sweep(tmp_path / "W", results_of(rows), columns, stages=("run",), reference=next(iter(rows)), curves=curve)
    html = written(tmp_path / "W")
    assert html.stat().st_size < 1.5e6

    async def visit(browser):
        await browser.open(html)
        assert browser.complaints == []
        return await browser.evaluate(
            "[...document.querySelectorAll('.chart')[0].querySelectorAll('.role-axis-label text')].map(one => one.textContent)"
        )

    labels = browse(tmp_path / "profile", visit)
    assert sum(label.startswith("row ") for label in labels) == 40
